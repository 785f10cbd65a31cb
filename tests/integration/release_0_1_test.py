"""Opens, resumes, exports and serves what release 0.1 wrote."""

import json
import os
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_prep.dataset.records import list_shards, parse_users
from export.probe_requests import Request, pad_histories
from export.probe_users import read_users
from export.saved_model import export_job
from export.settings import ExportSettings
from export.verification import ServedModel
from serving.client import Client
from tests.integration.commands import run
from tests.job_state import read_latest_state
from tests.serving.processes import run_server
from trainer.config import Config
from trainer.job.paths import JobPaths
from trainer.job.record import load_job
from trainer.model.autoencoder import AutoEncoder
from trainer.model.layers import RatingCentering

RELEASE = Path(__file__).parents[1] / "testdata/release_0_1"
DATA_DIR = str(RELEASE / "data")

#: The settings of its jobs, by the names that flags had.
OLD_FLAGS = (
    *("--data-dir", DATA_DIR),
    *("--hidden-units=4,3", "--batch-size=10", "--num-epochs=3"),
    *("--centring=user_item", "--item-sampling=8"),
)


@pytest.fixture(scope="module")
def job():
    return load_job(JobPaths.resolve(str(RELEASE / "job"), environ={}))


@pytest.fixture(scope="module")
def ratings(job):
    """The training ratings of all users."""
    users = tf.data.TFRecordDataset(list_shards(DATA_DIR)).batch(40)
    return parse_users(next(iter(users)), job.data.num_items, ["train"])[
        "train"
    ]


def test_a_config_is_read_with_the_names_of_its_time():
    record = json.loads((RELEASE / "job/config.json").read_text())
    del record["data_fingerprint"]
    assert {"centring", "item_sampling"} < record.keys()
    config = Config.from_json(record)
    assert config.centering == "user_item"
    assert config.num_sampled_items == 8


def test_the_saved_model_and_its_job_predict_the_same(job, ratings):
    ids = np.array(job.items.item_ids, object)
    users = read_users(DATA_DIR, job.data.num_items)
    request = Request(
        "predict",
        {
            **pad_histories(users, ids),
            "candidate_item_ids": np.tile(ids, (len(users), 1)),
        },
    )
    with ServedModel(str(RELEASE / "export/1")) as served:
        answer = served.answer(request)
    assert job.uncertainty is None
    assert "standard_deviations" not in answer
    np.testing.assert_allclose(
        answer["predicted_ratings"],
        job.model(ratings)[: len(users)],
        rtol=1e-5,
        atol=1e-5,
    )


def test_a_keras_model_is_read_with_all_its_weights(job, ratings):
    model = keras.saving.load_model(RELEASE / "model.keras")
    assert model.num_sampled_items == 8
    assert model.centering.mode == "user_item"
    np.testing.assert_array_equal(model(ratings), job.model(ratings))


def test_serialized_configurations_are_read():
    configs = json.loads((RELEASE / "configs.json").read_text())
    model = keras.saving.deserialize_keras_object(configs["model"])
    assert isinstance(model, AutoEncoder)
    assert model.num_sampled_items == 8
    assert model.centering.mode == "user_item"
    layer = keras.saving.deserialize_keras_object(configs["centring"])
    assert isinstance(layer, RatingCentering)
    assert (layer.mode, layer.item_damping) == ("user_item", 4.0)


def test_a_plain_dictionary_of_arguments_is_read():
    model = AutoEncoder.from_config(
        {"num_items": 5, "centring": "item", "item_sampling": 2}
    )
    assert model.centering.mode == "item"
    assert model.get_config()["num_sampled_items"] == 2
    assert not {"centring", "item_sampling"} & model.get_config().keys()


@pytest.mark.slow
@pytest.mark.integration
def test_a_stopped_job_resumes_with_the_flags_of_its_time(tmp_path):
    job_dir = tmp_path / "job"
    shutil.copytree(RELEASE / "stopped_job", job_dir)
    code, _, errors = run("trainer.task", "--job-dir", job_dir, *OLD_FLAGS)
    assert code == 0, errors
    assert "epoch 3/3" in errors
    assert "epoch 2/3" not in errors
    state = read_latest_state(job_dir / "checkpoints")
    expected = read_latest_state(RELEASE / "job/checkpoints")
    assert state.keys() > expected.keys()
    for name, value in expected.items():
        # Other processors round differently.
        np.testing.assert_allclose(
            state[name], value, rtol=1e-4, atol=1e-6, err_msg=name
        )
    assert (job_dir / "export/1/saved_model.pb").exists()


@pytest.mark.slow
@pytest.mark.integration
def test_new_flags_resume_it_as_well_and_other_settings_are_told(tmp_path):
    shutil.copytree(RELEASE / "job", tmp_path / "job")
    flags = [
        flag.replace("--centring", "--centering").replace(
            "--item-sampling", "--num_sampled_items"
        )
        for flag in OLD_FLAGS
    ]
    flags[-1] = "--num-sampled-items=9"
    code, _, errors = run("trainer.task", "--job-dir", tmp_path / "job", *flags)
    assert code == 1
    assert "another configuration: num_sampled_items was 8 and is 9." in errors


@pytest.mark.slow
def test_a_job_is_exported_and_its_card_has_the_names_of_today(tmp_path):
    version_dir = export_job(
        JobPaths.resolve(
            str(RELEASE / "job"), export_dir=str(tmp_path), environ={}
        ),
        ExportSettings(data_dir=DATA_DIR),
    )
    card = Path(version_dir, "assets.extra/model_card.md").read_text()
    assert "- centering: user_item\n" in card
    assert "- num_sampled_items: `8`\n" in card


@pytest.mark.slow
@pytest.mark.integration
def test_a_local_server_serves_the_exported_version(tmp_path, job):
    shutil.copytree(RELEASE / "export", tmp_path / "export")
    # Every SavedModel has this empty directory, which Git does not keep.
    os.makedirs(tmp_path / "export/1/assets", exist_ok=True)
    with run_server(tmp_path / "export") as server:
        answer = Client(server.url).recommend({job.items.item_ids[0]: 10.0})
    assert len(answer.items) == 5
    assert answer.num_known_items == 1
