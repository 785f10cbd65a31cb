"""What TFX's Trainer hands over, and what its Pusher takes."""

import shutil
import types

import pytest

from data_prep.dataset.errors import UserError
from deep_recommender.tfx import run_fn
from serving.client import Client
from tests.serving.processes import run_server

pytestmark = pytest.mark.integration

SMALL = {
    "recipe": "untaught",
    "hidden_units": [16, 8],
    "batch_size": 40,
    "num_epochs": 2,
}


def make_fn_args(directory, data_dir, **changes):
    """The attributes of TFX 1.x, set as its executor sets them."""
    values = {
        "working_dir": None,
        "train_files": [f"{data_dir}/Split-train/*"],
        "eval_files": [f"{data_dir}/Split-eval/*"],
        "train_steps": None,
        "eval_steps": None,
        "schema_path": None,
        "schema_file": None,
        "transform_graph_path": None,
        "transform_output": None,
        "data_accessor": object(),
        "serving_model_dir": f"{directory}/model/Format-Serving",
        "eval_model_dir": f"{directory}/model/Format-TFMA",
        "model_run_dir": f"{directory}/model_run",
        "base_model": None,
        "hyperparameters": None,
        "custom_config": {
            "deep_recommender": SMALL,
            "ai_platform_training_args": {"project": "of the platform"},
        },
    }
    return types.SimpleNamespace(**{**values, **changes})


@pytest.mark.extended
def test_a_pushed_model_recommends_to_a_client(tmp_path, synthetic_data):
    (tmp_path / "model").mkdir()
    run_fn(make_fn_args(tmp_path, synthetic_data))
    # Pusher copies the directory under a number of its own.
    pushed = tmp_path / "serving/1795878000"
    shutil.copytree(tmp_path / "model/Format-Serving", pushed)
    with run_server(pushed.parent) as server:
        client = Client(server.url)
        answer = client.recommend({"item-1": 9.0, "item-2": 1.0})
    assert len(answer.items) == 38
    for name in ("metrics.json", "report.html", "checkpoints", "logs"):
        assert (tmp_path / "model_run" / name).exists()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("train_files", None, "needs `train_files`"),
        ("train_files", ["a/train/*", "b/train/*"], "must be one artifact"),
        ("train_files", ["/nowhere/train/*"], "/nowhere is not prepared data"),
        ("serving_model_dir", None, "needs `serving_model_dir`"),
        ("model_run_dir", None, "needs `model_run_dir`"),
        ("train_steps", 100, "set `num_epochs` in custom_config"),
        ("eval_steps", 5, "leave num_steps out of eval_args"),
        ("transform_graph_path", "x", "leave transform_graph out"),
        ("base_model", "x", "leave base_model out"),
        ("hyperparameters", {"space": []}, "trainer.search"),
        ("custom_config", None, "needs the settings of the job"),
        ("custom_config", {"recipe": "paper"}, "needs the settings of the job"),
        (
            "custom_config",
            {"deep_recommender": {**SMALL, "epochs": 3}},
            r"custom_config\['deep_recommender'\] has no setting .* 'epochs'",
        ),
    ],
)
def test_an_argument_that_cannot_be_used_is_named(
    name, value, message, tmp_path, synthetic_data
):
    fn_args = make_fn_args(tmp_path, synthetic_data, **{name: value})
    with pytest.raises(UserError, match=message):
        run_fn(fn_args)
    assert not list(tmp_path.iterdir())
