"""Trains, evaluates and exports a recommender.

    python -m trainer.task --job-dir DIR [--data-dir DIR] [--recipe NAME] [...]

Started again with the same flags, it resumes where it stopped. The flags of
settings are the fields of `trainer.config.Config`.
"""

import dataclasses
import os
from typing import TYPE_CHECKING, Any

from absl import flags, logging

from data_prep import command_line
from data_prep.dataset.errors import UserError
from data_prep.dataset.manifest import read_manifest
from data_prep.prepare import prepare
from data_prep.sources.registry import make_source
from data_prep.splits.registry import make_split
from export.sample import recommend_to_first_user
from export.saved_model import export_job, find_export
from export.settings import ExportSettings
from trainer.config import Config
from trainer.input.managed_dataset import find_managed_dataset
from trainer.job.checkpoints import CheckpointSchedule
from trainer.job.metrics_table import tabulate_metrics
from trainer.job.paths import JobPaths
from trainer.job.record import read_config
from trainer.recipes import DEFAULT_RECIPE, RECIPES, make_config
from trainer.renamed_settings import RENAMED_SETTINGS
from trainer.training.distribution import check_devices, create_strategy
from trainer.training.termination import Termination
from trainer.training.train import train_and_evaluate
from trainer.training.workers import Workers

if TYPE_CHECKING:
    import tensorflow as tf

# TensorFlow's allocator keeps the memory that a step frees. malloc returns
# every tensor of more than 32 MB to the system, and mapping the pages of the
# next one takes as long as the matrix product that fills it.
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")

_JOB_DIR = flags.DEFINE_string(
    "job_dir",
    None,
    "Directory of the job, local or gs://, for its settings, checkpoints,"
    " logs, metrics and export.",
    required=True,
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Data prepared by data_prep.task. Default: the CSV files of"
    " AIP_TRAINING_DATA_URI, which Vertex AI sets for a managed dataset, or"
    " MovieLens-1M, with the last 30 % of each user's ratings held out; it is"
    " prepared in the job directory.",
)
_WARM_START_FROM = flags.DEFINE_string(
    "warm_start_from",
    None,
    "Directory of an earlier job from whose weights this one starts. Its items"
    " must be the first of this job's: prepare the data with"
    " `data_prep.task --vocabulary-from`.",
)
_CHECKPOINT_MINUTES = flags.DEFINE_float(
    "checkpoint_minutes",
    CheckpointSchedule.minutes,
    "Minutes between two checkpoints within an epoch: what a killed job loses"
    " at most. 0 does not count minutes.",
)
_CHECKPOINT_STEPS = flags.DEFINE_integer(
    "checkpoint_steps",
    CheckpointSchedule.steps,
    "Training steps between two checkpoints within an epoch. 0 does not count"
    " steps.",
)
_RECIPE = command_line.define_path(
    "recipe",
    None,
    f"Settings to start from: {', '.join(RECIPES)}, or a recipe file, such as"
    " `trainer.search` writes; the flags below override single ones. The taught"
    " ones, quickstart and recommended, follow the number of users. Default:"
    f" the settings of the job in --job_dir, or {DEFAULT_RECIPE}.",
)
_CHECKPOINT_DIR = flags.DEFINE_string(
    "checkpoint_dir",
    None,
    "Directory of the checkpoints. Default: AIP_CHECKPOINT_DIR, or"
    " `checkpoints` in the job directory.",
)
_TENSORBOARD_LOG_DIR = flags.DEFINE_string(
    "tensorboard_log_dir",
    None,
    "Directory of TensorBoard's files. Default: AIP_TENSORBOARD_LOG_DIR, or"
    " `logs` in the job directory.",
)
_EXPORT_DIR = flags.DEFINE_string(
    "export_dir",
    None,
    "Parent of the numbered SavedModels. Default: AIP_MODEL_DIR, or `export`"
    " in the job directory.",
)

_REQUIRE_GPU = flags.DEFINE_boolean(
    "require_gpu", False, "Refuses to train on a machine without a GPU."
)

#: Type of a setting -> the function that defines its flag.
_DEFINE: dict[Any, Any] = {
    str: flags.DEFINE_string,
    bool: flags.DEFINE_boolean,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    tuple[int, ...]: flags.DEFINE_list,
}
_SETTINGS = {
    field.name: _DEFINE[field.type](field.name, None, field.metadata["help"])
    for field in dataclasses.fields(Config)
}
for _old_name, _name in RENAMED_SETTINGS.items():
    flags.DEFINE_alias(_old_name, _name)

#: Ratings and recommendations printed for the sample user.
_SAMPLE_SIZE = 10


def main() -> None:
    """Trains, evaluates and exports the job that the flags describe."""
    schedule = CheckpointSchedule(
        minutes=_CHECKPOINT_MINUTES.value, steps=_CHECKPOINT_STEPS.value
    )
    changes = _read_settings()
    paths = JobPaths.resolve(
        _JOB_DIR.value,
        checkpoint_dir=_CHECKPOINT_DIR.value,
        log_dir=_TENSORBOARD_LOG_DIR.value,
        export_dir=_EXPORT_DIR.value,
    )
    # A mistake in a setting is told before the data are prepared.
    _create_config(paths, changes)
    termination = Termination()
    with termination.listen():
        strategy = create_strategy()
    # Once more: a strategy of several workers takes SIGTERM for itself.
    with termination.listen():
        _run(changes, paths, strategy, schedule, termination)


def _run(
    changes: dict[str, Any],
    paths: JobPaths,
    strategy: "tf.distribute.Strategy",
    schedule: CheckpointSchedule,
    termination: Termination,
) -> None:
    check_devices(require_gpu=_REQUIRE_GPU.value)
    data_dir = _DATA_DIR.value or paths.data_dir
    workers = Workers(strategy)
    if workers.are_many and not _DATA_DIR.value:
        raise UserError(
            "a job of several workers needs --data-dir, data that are prepared"
            " before it starts."
        )
    if not _DATA_DIR.value:
        termination.activity = "preparing the data"
        _prepare(data_dir)
    manifest = read_manifest(data_dir)
    config = _create_config(
        paths, changes, manifest.num_users, manifest.num_items
    )
    metrics = train_and_evaluate(
        config,
        data_dir,
        paths,
        strategy,
        _WARM_START_FROM.value,
        schedule,
        termination,
    )
    if not workers.is_chief:
        return
    print(tabulate_metrics(metrics))
    termination.activity = "exporting"
    version_dir = find_export(paths)
    if version_dir is not None:
        logging.info("%s is exported already.", version_dir)
    else:
        version_dir = export_job(paths, ExportSettings(data_dir=data_dir))
    _print_sample(version_dir, data_dir)
    print(
        f"\nMetrics: {paths.metrics_file}\nReport: {paths.report_file}"
        f"\nSavedModel: {version_dir}"
    )


def _prepare(data_dir: str) -> None:
    """Prepares the dataset that the platform hands to the job, or MovieLens."""
    managed = find_managed_dataset()
    if managed is None:
        prepare(make_source("movielens-1m"), make_split("user-time"), data_dir)
        return
    ratings, test_ratings = managed
    prepare(
        make_source("files", ratings=ratings, test_ratings=test_ratings),
        make_split("fold" if test_ratings else "user-time"),
        data_dir,
    )


def _create_config(
    paths: JobPaths,
    changes: dict[str, Any],
    num_users: int | None = None,
    num_items: int = 0,
) -> Config:
    """Changes the settings of the job that is there, or of the recipe."""
    if _RECIPE.value is None:
        config = read_config(paths)
        if config is not None:
            return dataclasses.replace(config, **changes)
    return make_config(
        _RECIPE.value or DEFAULT_RECIPE, changes, num_users, num_items
    )


def _read_settings() -> dict[str, Any]:
    """Reads the settings that are given as flags."""
    changes: dict[str, Any] = {
        name: flag.value
        for name, flag in _SETTINGS.items()
        if flag.value is not None
    }
    for name, value in changes.items():
        if isinstance(value, list):
            try:
                changes[name] = tuple(int(number) for number in value if number)
            except ValueError:
                raise UserError(
                    f"`{name}` must be whole numbers separated by commas."
                    f" Received: {name}={','.join(value)}"
                ) from None
    return changes


def _print_sample(version_dir: str, data_dir: str) -> None:
    sample = recommend_to_first_user(version_dir, data_dir)
    print(
        f"\nUser {sample.user_id} gave {len(sample.history)} ratings, of which"
        " the highest are:"
    )
    for title, rating in sample.history[:_SAMPLE_SIZE]:
        print(f"  {rating:5.2f}  {title}")
    print("The exported model recommends, with predicted ratings:")
    for title, rating in sample.recommendations[:_SAMPLE_SIZE]:
        print(f"  {rating:5.2f}  {title}")


if __name__ == "__main__":
    command_line.run(main)
