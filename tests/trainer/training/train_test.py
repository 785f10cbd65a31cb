import dataclasses
import json
import os
import shutil
import socket

import numpy as np
import pytest
import tensorflow as tf

from data_prep.dataset.errors import UserError
from data_prep.dataset.items import read_items
from data_prep.dataset.manifest import read_manifest
from data_prep.dataset.records import list_shards, parse_users
from tests.job_state import assert_same_state, read_latest_state
from tests.synthetic import prepare_synthetic
from trainer.job.paths import JobPaths
from trainer.job.record import load_job, read_config
from trainer.model.autoencoder import AutoEncoder
from trainer.recipes import RECIPES
from trainer.training.train import create_model, train, train_and_evaluate

pytestmark = pytest.mark.integration

SMALL = dataclasses.replace(
    RECIPES["untaught"],
    hidden_units=(16, 8),
    dropout_rate=0.2,
    batch_size=40,
    num_epochs=3,
)


def run(directory, data_dir, strategy=None, **changes):
    """Runs a small job; returns its paths and metrics."""
    paths = JobPaths.resolve(str(directory), environ={})
    config = dataclasses.replace(SMALL, **changes)
    strategy = strategy or tf.distribute.get_strategy()
    return paths, train_and_evaluate(config, data_dir, paths, strategy)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, synthetic_data):
    return run(
        tmp_path_factory.mktemp("job"),
        synthetic_data,
        num_epochs=15,
        batch_size=20,
    )


def test_the_model_beats_the_biases_where_they_cannot_explain_the_ratings(
    finished,
):
    _, metrics = finished
    biases = metrics["baselines"]["biases"]
    assert biases["rmse"] < metrics["baselines"]["mean"]["rmse"]
    assert metrics["test"]["rmse"] < 0.7 * biases["rmse"]
    assert metrics["test"]["mae"] < 0.7 * biases["mae"]


@pytest.mark.slow
def test_training_alone_ends_with_the_same_weights_and_measures_nothing(
    tmp_path, synthetic_data, trained_job
):
    paths = JobPaths.resolve(str(tmp_path), environ={})
    config = read_config(trained_job)
    model = train(config, synthetic_data, paths, tf.distribute.get_strategy())
    for variable, expected in zip(
        model.variables, load_job(trained_job).model.variables, strict=True
    ):
        np.testing.assert_array_equal(variable, expected)
    assert not os.path.exists(paths.metrics_file)


def test_figures_over_all_held_out_ratings_stand_beside_those_of_known_items(
    finished, synthetic_data
):
    _, metrics = finished
    num_cold = read_manifest(synthetic_data).num_cold_ratings
    for group in ("validation", "test"):
        known = metrics[group]
        assert known["all"]["num_ratings"] == (
            known["num_ratings"] + num_cold[group]
        )


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_job_in_half_precision_comes_close(
    finished, tmp_path, synthetic_data, precision
):
    _, metrics = run(
        tmp_path,
        synthetic_data,
        num_epochs=15,
        batch_size=20,
        mixed_precision=precision,
    )
    _, in_float32 = finished
    assert metrics["test"]["rmse"] < 1.1 * in_float32["test"]["rmse"]
    # The layers did compute in half precision:
    config = dataclasses.replace(SMALL, mixed_precision=precision)
    model = create_model(config, read_items(synthetic_data))
    assert {layer.compute_dtype for layer in model.dense_layers} == {precision}
    assert {layer.kernel.dtype for layer in model.dense_layers} == {"float32"}


def test_metrics_json_holds_what_the_run_returned(finished):
    paths, metrics = finished
    with open(paths.metrics_file) as file:
        assert json.load(file) == metrics


def test_baselines_equal_their_formulas_over_all_held_out_ratings(
    finished, synthetic_data
):
    _, metrics = finished
    items = read_items(synthetic_data)
    users = tf.data.TFRecordDataset(list_shards(synthetic_data)).batch(1000)
    groups = parse_users(
        next(iter(users)), len(items.item_ids), ["train", "test"]
    )
    user, item = groups["train"].indices.numpy().T
    rating = groups["train"].values.numpy().astype(float)
    mean = rating.mean()
    item_offset = np.bincount(item, rating - mean) / (np.bincount(item) + 10)
    rest = rating - mean - item_offset[item]
    user_offset = np.bincount(user, rest) / (np.bincount(user) + 10)
    test_user, test_item = groups["test"].indices.numpy().T
    truth = groups["test"].values.numpy()
    for name, prediction in (
        ("mean", np.full(len(truth), mean)),
        (
            "biases",
            mean + item_offset[test_item] + user_offset[test_user],
        ),
    ):
        figures = metrics["baselines"][name]
        error = prediction - truth
        assert figures["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)))
        assert figures["mae"] == pytest.approx(np.mean(np.abs(error)))
        assert figures["num_ratings"] == len(truth)


def test_lists_of_network_popularity_and_biases_are_measured(finished):
    _, metrics = finished
    lists = metrics["ranking"]
    assert lists.keys() == {"network", "popularity", "biases"}
    assert (
        lists["network"]["liked/ndcg@10"]
        > 1.2 * (lists["biases"]["liked/ndcg@10"])
    )
    assert lists["network"]["top_share"] < lists["popularity"]["top_share"]
    assert (
        lists["popularity"]["mean_popularity"]
        > (lists["network"]["mean_popularity"])
    )


def test_a_model_that_beats_its_baselines_says_nothing_of_it(finished):
    _, metrics = finished
    assert metrics["beats_baselines"] is True


@pytest.mark.slow
def test_a_model_that_loses_to_the_biases_says_so_loudly(
    tmp_path, synthetic_data, caplog
):
    _, metrics = run(tmp_path, synthetic_data, learning_rate=1e-9, num_epochs=1)
    assert metrics["beats_baselines"] is False
    assert (
        "DOES NOT BEAT ITS BASELINES: its test RMSE is"
        f" {metrics['test']['rmse']:.4f}, that of biases alone is"
        f" {metrics['baselines']['biases']['rmse']:.4f}"
    ) in caplog.text


@pytest.mark.slow
def test_a_job_whose_last_epoch_is_the_best_says_that_more_may_help(
    tmp_path, synthetic_data, caplog
):
    caplog.set_level("INFO", logger="absl")
    run(tmp_path, synthetic_data, num_epochs=2)
    assert "still improving" in caplog.text


@pytest.mark.slow
def test_training_stops_when_patience_ends_and_stays_stopped(
    tmp_path, synthetic_data, caplog
):
    caplog.set_level("INFO", logger="absl")
    # Too small a learning rate for a second epoch to differ from the first.
    settings = {"learning_rate": 1e-30, "num_epochs": 9, "patience": 2}
    paths, metrics = run(tmp_path, synthetic_data, **settings)
    assert metrics["best_epoch"] == 1
    assert "epoch 3/9" in caplog.text
    assert "epoch 4/9" not in caplog.text
    state = read_latest_state(paths.checkpoint_dir)
    _, again = run(tmp_path, synthetic_data, **settings)
    assert again == metrics
    for name, value in read_latest_state(paths.checkpoint_dir).items():
        np.testing.assert_array_equal(value, state[name])


def test_the_best_weights_are_those_that_are_read_back(
    finished, synthetic_data
):
    paths, metrics = finished
    job = load_job(paths)
    users = tf.data.TFRecordDataset(list_shards(synthetic_data)).batch(1000)
    groups = parse_users(
        next(iter(users)), job.data.num_items, ["train", "test"]
    )
    predictions = job.model(groups["train"]).numpy()
    error = (
        predictions[tuple(groups["test"].indices.numpy().T)]
        - groups["test"].values
    )
    assert np.sqrt(np.mean(error**2)) == pytest.approx(
        metrics["test"]["rmse"], rel=1e-5
    )


def test_tensorboard_s_files_hold_every_epoch(finished):
    paths, _ = finished
    (events,) = tf.io.gfile.glob(f"{paths.log_dir}/validation/*")
    rmse = [
        value
        for event in tf.compat.v1.train.summary_iterator(events)
        for value in event.summary.value
        if value.tag == "epoch_rmse"
    ]
    assert len(rmse) == 15


@pytest.mark.slow
def test_the_graph_is_not_made_again_for_other_numbers_of_ratings(
    tmp_path, synthetic_data, monkeypatch
):
    traces = []
    train_step = AutoEncoder.train_step

    def trace(self, ratings):
        # Python runs only while the graph is traced.
        traces.append(ratings.values.shape)
        return train_step(self, ratings)

    monkeypatch.setattr(AutoEncoder, "train_step", trace)
    run(tmp_path, synthetic_data, num_epochs=4)
    assert [shape.as_list() for shape in traces] == [[None]]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights(tmp_path, synthetic_data):
    paths, _ = run(tmp_path / "one", synthetic_data)
    other_paths, _ = run(tmp_path / "two", synthetic_data)
    assert_same_state(paths.checkpoint_dir, other_paths.checkpoint_dir)


@pytest.mark.slow
def test_a_stopped_job_ends_with_the_weights_of_one_that_was_not(
    tmp_path, synthetic_data, monkeypatch
):
    whole, _ = run(tmp_path / "whole", synthetic_data)
    monkeypatch.setattr(
        "trainer.training.train.Progress.epoch_done", stop_after_epoch(2)
    )
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", synthetic_data)
    monkeypatch.undo()
    stopped, metrics = run(tmp_path / "stopped", synthetic_data)
    assert_same_state(whole.checkpoint_dir, stopped.checkpoint_dir)
    with open(whole.metrics_file) as file:
        assert json.load(file) == metrics


def stop_after_epoch(last_epoch):
    def epoch_done(self, epoch, figures):
        if epoch == last_epoch:
            raise KeyboardInterrupt

    return epoch_done


@pytest.mark.slow
def test_a_finished_job_that_is_started_again_changes_nothing(
    tmp_path, synthetic_data
):
    paths, metrics = run(tmp_path, synthetic_data)
    before = read_latest_state(paths.checkpoint_dir)
    _, again = run(tmp_path, synthetic_data)
    assert again == metrics
    for name, value in read_latest_state(paths.checkpoint_dir).items():
        np.testing.assert_array_equal(value, before[name])


def test_another_configuration_is_refused_and_named(
    trained_job, synthetic_data
):
    with pytest.raises(
        UserError,
        match=r"another configuration: .*hidden_units was \[16, 8\] and is"
        r" \[16\]; learning_rate was .* and is 0.5",
    ):
        run(
            os.path.dirname(trained_job.metrics_file),
            synthetic_data,
            learning_rate=0.5,
            hidden_units=(16,),
        )


@pytest.mark.slow
def test_other_data_are_refused(tmp_path, synthetic_data):
    run(tmp_path / "job", synthetic_data)
    (tmp_path / "other").mkdir()
    other_data = prepare_synthetic(tmp_path / "other", seed=1)
    with pytest.raises(UserError, match="data_fingerprint was '"):
        run(tmp_path / "job", other_data)


def test_an_infinite_loss_stops_the_job_and_keeps_the_last_good_state(
    tmp_path, synthetic_data
):
    with pytest.raises(
        UserError,
        match=r"the loss became (nan|inf) in epoch \d+ at batch \d+.*"
        r"1e\+12.*num_refeeds=0.*--num_refeeds=1",
    ):
        run(
            tmp_path,
            synthetic_data,
            optimizer="momentum",
            learning_rate=1e12,
            num_refeeds=0,
            num_epochs=20,
        )
    paths = JobPaths.resolve(str(tmp_path), environ={})
    if os.path.exists(paths.latest_checkpoint_dir):
        for name, value in read_latest_state(paths.checkpoint_dir).items():
            assert np.isfinite(value).all(), name
    assert not os.path.exists(paths.metrics_file)


@pytest.mark.slow
def test_a_job_that_never_finished_an_epoch_may_get_other_settings(
    tmp_path, synthetic_data
):
    settings = {"optimizer": "momentum", "num_refeeds": 0}
    with pytest.raises(
        UserError, match=r"in epoch 1 .* No checkpoint was written\. Try"
    ):
        run(tmp_path, synthetic_data, learning_rate=1e30, **settings)
    paths, _ = run(tmp_path, synthetic_data, learning_rate=0.001, **settings)
    with open(paths.config_file) as file:
        assert json.load(file)["learning_rate"] == 0.001


def test_a_batch_larger_than_the_data_is_refused(tmp_path, synthetic_data):
    with pytest.raises(
        UserError, match=r"at most the number of users, 200.*batch_size=201"
    ):
        run(tmp_path, synthetic_data, batch_size=201)
    # Nothing is recorded that would refuse a smaller batch.
    assert not list(tmp_path.iterdir())


def test_a_directory_that_is_not_prepared_data_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not prepared data"):
        run(tmp_path / "job", str(tmp_path))


def test_a_directory_in_which_another_run_trains_is_left_alone(
    tmp_path, synthetic_data
):
    # The parent of this process lives.
    lease = {"host": socket.gethostname(), "pid": os.getppid(), "heartbeat": 1}
    (tmp_path / "lease.json").write_text(json.dumps(lease))
    with pytest.raises(
        UserError, match=rf"another run trains in .*process {os.getppid()} on"
    ):
        run(tmp_path, synthetic_data)
    assert [path.name for path in tmp_path.iterdir()] == ["lease.json"]


def test_data_that_were_damaged_are_refused_before_anything_is_written(
    tmp_path, synthetic_data
):
    data_dir = shutil.copytree(synthetic_data, tmp_path / "data")
    shard = list_shards(str(data_dir))[0]
    os.truncate(shard, os.path.getsize(shard) - 1)
    with pytest.raises(UserError, match=f"{shard} is not the file that was"):
        run(tmp_path / "job", str(data_dir))
    assert not (tmp_path / "job").exists()


@pytest.mark.slow
def test_two_replicas_train_like_one(tmp_path, synthetic_data, two_replicas):
    _, metrics = run(tmp_path / "one", synthetic_data, num_epochs=2)
    _, mirrored_metrics = run(
        tmp_path / "two", synthetic_data, two_replicas, num_epochs=2
    )
    assert mirrored_metrics["test"]["rmse"] == pytest.approx(
        metrics["test"]["rmse"], rel=1e-4
    )
    assert (
        mirrored_metrics["test"]["num_ratings"]
        == (metrics["test"]["num_ratings"])
    )


def test_a_job_without_a_checkpoint_cannot_be_read_back(tmp_path):
    with pytest.raises(UserError, match="holds no trained job"):
        load_job(JobPaths.resolve(str(tmp_path), environ={}))
