"""Trains and exports inside a TFX pipeline; does not need TFX itself.

The prepared data are an artifact of the pipeline, and the settings are in
`custom_config`:

    data = tfx.dsl.Importer(
        source_uri="gs://BUCKET/data",
        artifact_type=tfx.types.standard_artifacts.Examples,
        properties={"split_names": '["train", "eval"]'},
    ).with_id("prepared_data")
    trainer = tfx.components.Trainer(
        run_fn="deep_recommender.tfx.run_fn",
        examples=data.outputs["result"],
        custom_config={"deep_recommender": {"recipe": "quickstart"}},
    )

Reference:
    https://github.com/tensorflow/tfx/blob/master/tfx/components/trainer/fn_args_utils.py:
    what TFX hands to `run_fn`.
"""

import os
from typing import Any, Protocol

from absl import logging

from data_prep.dataset.errors import UserError
from data_prep.dataset.manifest import read_manifest
from export.saved_model import export_job
from export.settings import ExportSettings
from export.versions import move_version
from trainer.config import Config
from trainer.job.metrics_table import tabulate_metrics
from trainer.job.paths import JobPaths
from trainer.recipes import make_config, parse_recipe
from trainer.training.distribution import check_devices, create_strategy
from trainer.training.train import train_and_evaluate
from trainer.training.workers import Workers

#: Key of `custom_config` that holds the settings. Its other keys are for the
#: platform that runs the pipeline.
CUSTOM_CONFIG_KEY = "deep_recommender"

#: What would be ignored -> what does it here.
_UNUSED = {
    "train_steps": "Training counts epochs: set `num_epochs` in custom_config,"
    " and leave num_steps out of train_args.",
    "eval_steps": "All held-out ratings are evaluated: leave num_steps out of"
    " eval_args.",
    "transform_graph_path": "The data are prepared already: leave"
    " transform_graph out.",
    "base_model": "An exported model has no weights to train on: leave"
    " base_model out.",
    "hyperparameters": "Take the recipe that `python -m trainer.search` finds"
    " as custom_config, and leave hyperparameters out.",
}


class FnArgs(Protocol):
    """What is read of the arguments that TFX's Trainer makes.

    Attributes:
        train_files: the patterns of the training split, `DATA_DIR/SPLIT/*`.
        serving_model_dir: the directory of the SavedModel, which becomes
            `saved_model.pb` and what belongs to it, without a number.
        model_run_dir: the directory of the job: checkpoints, logs, metrics
            and report.
        custom_config: the settings under `deep_recommender`.
    """

    train_files: list[str]
    serving_model_dir: str
    model_run_dir: str
    custom_config: dict[str, Any] | None


def run_fn(fn_args: FnArgs) -> None:
    """Trains, evaluates and exports a job, as `trainer.task` does.

    Args:
        fn_args: the arguments of TFX's Trainer.

    Raises:
        UserError: an argument is missing, would be ignored, or names data or
            settings that no job can use.
    """
    data_dir = _find_data(_read(fn_args, "train_files"))
    model_run_dir = _read(fn_args, "model_run_dir")
    serving_model_dir = _read(fn_args, "serving_model_dir")
    for name, advice in _UNUSED.items():
        value = getattr(fn_args, name, None)
        if value:
            raise UserError(
                f"TFX's `{name}` has no effect. {advice} Received:"
                f" {name}={value!r}"
            )
    config = _make_config(fn_args.custom_config, data_dir)
    # Not from the environment: TFX says where everything goes.
    paths = JobPaths.resolve(model_run_dir, environ={})
    strategy = create_strategy()
    check_devices()
    metrics = train_and_evaluate(config, data_dir, paths, strategy)
    if not Workers(strategy).is_chief:
        return
    logging.info("%s", tabulate_metrics(metrics))
    version_dir = export_job(paths, ExportSettings(data_dir=data_dir))
    move_version(version_dir, serving_model_dir)
    logging.info("Moved it to %s.", serving_model_dir)


def _read(fn_args: FnArgs, name: str) -> Any:
    value = getattr(fn_args, name, None)
    if not value:
        raise UserError(
            f"`run_fn` needs `{name}`, which TFX's Trainer sets. Received:"
            f" {name}={value!r}"
        )
    return value


def _find_data(train_files: list[str]) -> str:
    """Finds the artifact that holds a split, two levels above its files."""
    data_dirs = {
        os.path.dirname(os.path.dirname(pattern)) for pattern in train_files
    }
    if len(data_dirs) > 1:
        raise UserError(
            "`examples` must be one artifact, the directory of prepared data."
            f" Received: train_files={train_files}"
        )
    (data_dir,) = data_dirs
    return data_dir


def _make_config(custom_config: dict[str, Any] | None, data_dir: str) -> Config:
    settings = (custom_config or {}).get(CUSTOM_CONFIG_KEY)
    if settings is None:
        raise UserError(
            "the Trainer needs the settings of the job:"
            f' custom_config={{"{CUSTOM_CONFIG_KEY}": {{"recipe":'
            f' "quickstart"}}}}. Received: custom_config={custom_config}'
        )
    recipe, changes = parse_recipe(
        settings, f"custom_config[{CUSTOM_CONFIG_KEY!r}]"
    )
    data = read_manifest(data_dir)
    return make_config(recipe, changes, data.num_users, data.num_items)
