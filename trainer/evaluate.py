"""Measures a trained job on the held-out ratings of prepared data.

python -m trainer.evaluate --job-dir DIR --data-dir DIR [--output FILE]
"""

from absl import flags

from data_prep import command_line

_JOB_DIR = command_line.define_path(
    "job_dir", None, "Directory of a trained job.", required=True
)
_CHECKPOINT_DIR = command_line.define_path(
    "checkpoint_dir",
    None,
    "The job's checkpoints, if not in AIP_CHECKPOINT_DIR or the job directory.",
)
_DATA_DIR = command_line.define_path(
    "data_dir",
    None,
    "Prepared data, those of the job or others on the same scale. Default:"
    " the data in the job directory.",
)
_OUTPUT = command_line.define_path(
    "output", None, "File of the metrics, as in metrics.json of a job."
)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size",
    None,
    "Users per batch. Default: as the job had.",
    lower_bound=1,
)


def main() -> None:
    """Measures the job that the flags name."""
    # Imported late, so that flag errors and --help do not wait for TensorFlow.
    from data_prep.dataset.files import write_json
    from trainer.job.metrics_table import tabulate_metrics
    from trainer.job.paths import JobPaths
    from trainer.training.job_evaluation import evaluate_job

    paths = JobPaths.resolve(
        _JOB_DIR.value, checkpoint_dir=_CHECKPOINT_DIR.value
    )
    metrics = evaluate_job(
        paths, _DATA_DIR.value or paths.data_dir, _BATCH_SIZE.value
    )
    print(tabulate_metrics(metrics))
    if _OUTPUT.value:
        write_json(_OUTPUT.value, metrics)
        print(f"\nMetrics: {_OUTPUT.value}")


if __name__ == "__main__":
    command_line.run(main)
