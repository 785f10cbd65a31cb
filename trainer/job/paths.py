"""The files and directories of a training job."""

import dataclasses
import os
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class JobPaths:
    """The paths of a training job's files, local or on `gs://`.

    Attributes:
        job_dir: root of everything that has no directory of its own.
        record_dir: the settings, the lease, the vocabulary, the metrics and
            the report.
        checkpoint_dir: parent of `latest/`, from which a job resumes,
            `best/`, the weights with the lowest validation RMSE, and
            `teachers/`, which a taught model learns from.
        log_dir: TensorBoard's event files.
        export_dir: parent of the numbered SavedModel versions.
    """

    job_dir: str
    record_dir: str
    checkpoint_dir: str
    log_dir: str
    export_dir: str

    @classmethod
    def resolve(
        cls,
        job_dir: str,
        *,
        checkpoint_dir: str | None = None,
        log_dir: str | None = None,
        export_dir: str | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> "JobPaths":
        """Takes each path from its argument, the environment or the job dir.

        An argument goes before the environment, the environment before the
        default under `job_dir`. Vertex AI sets the variables, with a trailing
        slash, for a job with a base output directory
        (https://cloud.google.com/vertex-ai/docs/training/code-requirements).

        The trials of a tuning job share a command line, and so `job_dir`, and
        have a directory of checkpoints each, `BASE/TRIAL/checkpoints/`. The
        record of a trial lies beside these.

        Args:
            job_dir: root of the job.
            checkpoint_dir: overrides `AIP_CHECKPOINT_DIR`.
            log_dir: overrides `AIP_TENSORBOARD_LOG_DIR`.
            export_dir: overrides `AIP_MODEL_DIR`.
            environ: the environment variables.
        """

        def choose(given: str | None, variable: str, name: str) -> str:
            return given or environ.get(variable) or os.path.join(job_dir, name)

        of_trial = environ.get("AIP_CHECKPOINT_DIR")
        record_dir = job_dir
        if of_trial and not checkpoint_dir:
            record_dir = os.path.dirname(of_trial.rstrip("/"))
        return cls(
            job_dir=job_dir,
            record_dir=record_dir,
            checkpoint_dir=choose(
                checkpoint_dir, "AIP_CHECKPOINT_DIR", "checkpoints"
            ),
            log_dir=choose(log_dir, "AIP_TENSORBOARD_LOG_DIR", "logs"),
            export_dir=choose(export_dir, "AIP_MODEL_DIR", "export"),
        )

    @property
    def config_file(self) -> str:
        """The settings of the job and the fingerprint of its data."""
        return os.path.join(self.record_dir, "config.json")

    @property
    def lease_file(self) -> str:
        """Names the run that trains the job at present."""
        return os.path.join(self.record_dir, "lease.json")

    @property
    def vocabulary_dir(self) -> str:
        """Copies of the data's `items.parquet` and `manifest.json`."""
        return os.path.join(self.record_dir, "vocabulary")

    @property
    def metrics_file(self) -> str:
        """The metrics of the finished job."""
        return os.path.join(self.record_dir, "metrics.json")

    @property
    def report_file(self) -> str:
        """The report of the finished job, for people."""
        return os.path.join(self.record_dir, "report.html")

    @property
    def data_dir(self) -> str:
        """The data that the job prepares if it is given none."""
        return os.path.join(self.job_dir, "data")

    @property
    def latest_checkpoint_dir(self) -> str:
        """The newest training states."""
        return os.path.join(self.checkpoint_dir, "latest")

    @property
    def history_file(self) -> str:
        """The figures of each completed epoch."""
        return os.path.join(self.checkpoint_dir, "history.json")

    @property
    def teachers_dir(self) -> str:
        """The fitted teachers of a taught model, and the state of a fit."""
        return os.path.join(self.checkpoint_dir, "teachers")

    @property
    def uncertainty_file(self) -> str:
        """How far ratings lie from the predictions of the best weights."""
        return os.path.join(self.checkpoint_dir, "uncertainty.keras")

    @property
    def best_checkpoint_dir(self) -> str:
        """The weights with the lowest validation RMSE."""
        return os.path.join(self.checkpoint_dir, "best")
