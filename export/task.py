"""Exports a trained job for TensorFlow Serving.

python -m export.task --job-dir DIR [--export-dir DIR] [--top-k N] [...]
"""

from absl import flags

from data_prep import command_line
from export.saved_model import export_job
from export.settings import DEFAULT_SIGNATURES, RANK_BY, ExportSettings
from trainer.job.paths import JobPaths

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
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "The prepared data that the job was trained on, to check the export on its"
    " users. Default: the data in the job directory; without any, users are"
    " generated.",
)
_TOP_K = flags.DEFINE_integer(
    "top_k",
    ExportSettings.top_k,
    "Number of recommendations, and of similar items, in an answer.",
)
_RANK_BY = flags.DEFINE_enum(
    "rank_by",
    ExportSettings.rank_by,
    list(RANK_BY),
    "What recommendations are ranked by: the score that validation chose, the"
    " predicted rating alone, or the interest alone.",
)
_CLIP_PREDICTIONS = flags.DEFINE_boolean(
    "clip_predictions",
    ExportSettings.clip_predictions,
    "Whether predicted ratings are clipped to the rating scale; the ranking"
    " stays the same.",
)
_HISTORY_LENGTH = flags.DEFINE_integer(
    "history_length",
    None,
    "Length that clients should pad histories to. Default: the 99th percentile"
    " of the training histories' lengths, rounded up.",
)
_DEFAULT_SIGNATURE = flags.DEFINE_enum(
    "default_signature",
    ExportSettings.default_signature,
    list(DEFAULT_SIGNATURES),
    "The signature that answers requests which name none, such as those of"
    " Vertex AI: for batch prediction over TFRecords, one over examples. The"
    " clients of this package expect `recommend`.",
)
_KEEP = flags.DEFINE_integer(
    "keep",
    None,
    "Number of older versions to keep. Default: all.",
)


def main() -> None:
    """Exports the job that the flags name."""
    version_dir = export_job(
        JobPaths.resolve(
            _JOB_DIR.value,
            checkpoint_dir=_CHECKPOINT_DIR.value,
            export_dir=_EXPORT_DIR.value,
        ),
        ExportSettings(
            top_k=_TOP_K.value,
            rank_by=_RANK_BY.value,
            clip_predictions=_CLIP_PREDICTIONS.value,
            history_length=_HISTORY_LENGTH.value,
            default_signature=_DEFAULT_SIGNATURE.value,
            keep=_KEEP.value,
            data_dir=_DATA_DIR.value,
        ),
    )
    print(f"Exported {version_dir}")


if __name__ == "__main__":
    command_line.run(main)
