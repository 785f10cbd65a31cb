"""Where a job keeps what it makes."""

import dataclasses
import os
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class JobPaths:
    """The places of a training job, local or on `gs://`.

    Attributes:
        job_dir: root of everything that has no other place.
        checkpoint_dir: parent of `latest/`, from which a job resumes, and
            `best/`, the weights with the lowest validation RMSE.
        log_dir: TensorBoard's event files.
        export_dir: parent of the numbered SavedModel versions.
    """

    job_dir: str
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
        """Chooses each place: as given, else the environment's, else default.

        Vertex AI names the places of a job that has a base output directory
        in the environment, with a slash at the end
        (https://cloud.google.com/vertex-ai/docs/training/code-requirements).

        Args:
            job_dir: root of the job.
            checkpoint_dir: overrides `AIP_CHECKPOINT_DIR`.
            log_dir: overrides `AIP_TENSORBOARD_LOG_DIR`.
            export_dir: overrides `AIP_MODEL_DIR`.
            environ: the environment.
        """

        def place(given: str | None, variable: str, name: str) -> str:
            return given or environ.get(variable) or os.path.join(job_dir, name)

        return cls(
            job_dir=job_dir,
            checkpoint_dir=place(
                checkpoint_dir, "AIP_CHECKPOINT_DIR", "checkpoints"
            ),
            log_dir=place(log_dir, "AIP_TENSORBOARD_LOG_DIR", "logs"),
            export_dir=place(export_dir, "AIP_MODEL_DIR", "export"),
        )

    @property
    def config_file(self) -> str:
        """The job's settings and the fingerprint of its data."""
        return os.path.join(self.job_dir, "config.json")

    @property
    def vocabulary_dir(self) -> str:
        """Copies of the data's `items.parquet` and `manifest.json`."""
        return os.path.join(self.job_dir, "vocabulary")

    @property
    def metrics_file(self) -> str:
        """The figures of the finished job."""
        return os.path.join(self.job_dir, "metrics.json")

    @property
    def data_dir(self) -> str:
        """Where the job prepares data if it is not given any."""
        return os.path.join(self.job_dir, "data")

    @property
    def latest_checkpoint_dir(self) -> str:
        """The state after the last whole epoch."""
        return os.path.join(self.checkpoint_dir, "latest")

    @property
    def best_checkpoint_dir(self) -> str:
        """The weights with the lowest validation RMSE."""
        return os.path.join(self.checkpoint_dir, "best")
