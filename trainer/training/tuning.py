"""Reports the metric of a trial to the tuning service that runs it."""

import json
import os
import time
from collections.abc import Mapping

# As many as the service's own library keeps.
_NUM_KEPT = 100


def report_to_tuning(
    rmse: float, epoch: int, environ: Mapping[str, str] = os.environ
) -> None:
    """Adds the validation RMSE of an epoch to the metric file of a trial.

    Does nothing where `CLOUD_ML_HP_METRIC_FILE` is not set. An epoch that is
    reported again, by a job that resumes, replaces its earlier report.

    Reference:
        The format is that of cloudml-hypertune
        (https://github.com/GoogleCloudPlatform/cloudml-hypertune): a JSON
        object per line, whose values are strings but for the time.

    Args:
        rmse: the validation RMSE.
        epoch: number of the epoch, counted from 1.
        environ: the environment variables.
    """
    path = environ.get("CLOUD_ML_HP_METRIC_FILE")
    if not path:
        return
    report = {
        "checkpoint_path": "",
        "global_step": str(epoch),
        environ.get("CLOUD_ML_HP_METRIC_TAG") or "val_rmse": str(rmse),
        "timestamp": time.time(),
        "trial": environ.get("CLOUD_ML_TRIAL_ID") or "0",
    }
    lines = [*_read_others(path, epoch), json.dumps(report, sort_keys=True)]
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(f"{path}.tmp", "w", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines[-_NUM_KEPT:]))
    os.replace(f"{path}.tmp", path)


def _read_others(path: str, epoch: int) -> list[str]:
    """Reads the reports of other epochs."""
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    return [
        line for line in lines if json.loads(line)["global_step"] != str(epoch)
    ]
