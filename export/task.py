"""Exports a trained job for TensorFlow Serving.

python -m export.task --job-dir DIR [--export-dir DIR]
"""

from absl import flags

from data_prep import command_line
from export.saved_model import export_job
from trainer.job_paths import JobPaths

_JOB_DIR = flags.DEFINE_string(
    "job_dir", None, "Directory of a trained job.", required=True
)
_CHECKPOINT_DIR = flags.DEFINE_string(
    "checkpoint_dir",
    None,
    "The job's checkpoints, if not in AIP_CHECKPOINT_DIR or the job directory.",
)
_EXPORT_DIR = flags.DEFINE_string(
    "export_dir",
    None,
    "Parent of the numbered versions. Default: AIP_MODEL_DIR, or `export` in"
    " the job directory.",
)


def main() -> None:
    """Exports the job that the flags name."""
    version_dir = export_job(
        JobPaths.resolve(
            _JOB_DIR.value,
            checkpoint_dir=_CHECKPOINT_DIR.value,
            export_dir=_EXPORT_DIR.value,
        )
    )
    print(f"Exported {version_dir}")


if __name__ == "__main__":
    command_line.run(main)
