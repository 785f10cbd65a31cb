"""Checks in ten minutes that this project does on a GPU what it does on CPUs.

    python -m benchmarks.gpu_check --data_dir DIR [--device cpu]

Needs prepared data, best MovieLens-1M. Compares products, gradients and
training steps with the CPU's in float32; trains a job to its end, again, and
once more with a SIGKILL in between; trains it on the CPU; then measures steps
in each precision, over large catalogs, sparse against dense products, copies
to the host, and the job against a bare step. Prints a JSON line per figure and
a verdict in the end, whose status is 0 if everything passed, 1 if something
did not, and 3 without a GPU. `--device cpu` runs all of it in little, to check
the script itself.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# As `trainer.task` does.
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
# The jobs, processes of their own, need some of the card's memory.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")

import tensorflow as tf
from absl import app, flags

from benchmarks import device_checks as checks
from benchmarks.device_checks import SIZES, Figures

_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Prepared data that jobs train on.", required=True
)
_DEVICE = flags.DEFINE_enum(
    "device", "gpu", ["gpu", "cpu"], "Device that is checked."
)


def main(_: list[str]) -> None:
    """Runs every check, and reports the verdict."""
    size = SIZES[_DEVICE.value]
    device = f"{_DEVICE.value.upper()}:0"
    if not tf.config.list_physical_devices(_DEVICE.value.upper()):
        _report(verdict="no GPU", build=dict(tf.sysconfig.get_build_info()))
        sys.exit(3)
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as work_dir:
        steps: dict[str, Callable[[], Iterator[Figures]]] = {
            "device": lambda: checks.check_device(device),
            "agreement": lambda: checks.check_agreement(device),
            "job": lambda: checks.check_jobs(size, _DATA_DIR.value, work_dir),
            "precision": lambda: checks.measure_precisions(size, device),
            "catalog": lambda: checks.measure_catalogs(size, device),
            "product": lambda: checks.measure_products(size, device),
            "copies": lambda: checks.count_copies(size, device, work_dir),
            "input": lambda: checks.compare_with_bare_step(
                size, device, _DATA_DIR.value, work_dir
            ),
            # Last: it cannot be turned off again.
            "determinism": lambda: checks.check_determinism(device),
        }
        for name, check in steps.items():
            start = time.monotonic()
            try:
                for figures in check():
                    _report(check=name, **figures)
                    if not figures.get("passed", True):
                        failed.append(name)
            except Exception as error:
                # A check that cannot run must not keep the others from it.
                lines = f"{type(error).__name__}: {error}".splitlines()
                _report(check=name, passed=False, error=lines[0][:500])
                failed.append(name)
            _report(check=name, seconds=round(time.monotonic() - start, 1))
    _report(
        verdict="fail" if failed else "pass",
        device=_DEVICE.value,
        failed=sorted(set(failed)),
    )
    sys.exit(1 if failed else 0)


def _report(**figures: object) -> None:
    print(json.dumps({"benchmark": "gpu_check", **figures}), flush=True)


if __name__ == "__main__":
    app.run(main)
