"""Jobs that go on within an epoch, and checkpoints that are damaged."""

import dataclasses
import os
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

from data_prep.dataset.errors import UserError
from tests.job_state import assert_same_state, read_latest_state
from tests.synthetic import SMALL_TAUGHT
from trainer.job.checkpoints import Checkpoints, CheckpointSchedule
from trainer.job.paths import JobPaths
from trainer.recipes import RECIPES
from trainer.training.train import train_and_evaluate

pytestmark = pytest.mark.extended

SMALL = dataclasses.replace(
    RECIPES["untaught"],
    hidden_units=(16, 8),
    dropout_rate=0.5,
    batch_size=40,
    num_epochs=2,
)

#: Five steps make an epoch.
EVERY_TWO_STEPS = CheckpointSchedule(steps=2)


def run(directory, data_dir, config=SMALL, strategy=None):
    """Runs a small job; returns its paths and metrics."""
    paths = JobPaths.resolve(str(directory), environ={})
    strategy = strategy or tf.distribute.get_strategy()
    metrics = train_and_evaluate(
        config, data_dir, paths, strategy, schedule=EVERY_TWO_STEPS
    )
    return paths, metrics


def stop_after(monkeypatch, num_saves):
    """Makes a job stop dead right after a number of saves within epochs."""
    saves = []
    save = Checkpoints.save

    def save_and_stop(self):
        save(self)
        saves.append(self.num_batches)
        if len(saves) == num_saves:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "save", save_and_stop)


def assert_goes_on_after(num_saves, tmp_path, data_dir, monkeypatch, **kwargs):
    """Compares a job that stopped after some saves with one that did not."""
    whole, expected = run(tmp_path / "whole", data_dir, **kwargs)
    stop_after(monkeypatch, num_saves)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", data_dir, **kwargs)
    monkeypatch.undo()
    stopped, metrics = run(tmp_path / "stopped", data_dir, **kwargs)
    assert metrics == expected
    assert_same_state(whole.checkpoint_dir, stopped.checkpoint_dir)


# Saves after batches 2 and 4 and the end of the first epoch, then again.
@pytest.mark.parametrize(
    "num_saves", [pytest.param(1, marks=pytest.mark.slow), 5]
)
def test_a_job_stopped_within_an_epoch_ends_as_one_that_was_not(
    num_saves, tmp_path, synthetic_data, monkeypatch
):
    assert_goes_on_after(num_saves, tmp_path, synthetic_data, monkeypatch)


@pytest.mark.slow
def test_a_taught_job_stopped_within_an_epoch_ends_as_one_that_was_not(
    tmp_path, synthetic_data, monkeypatch
):
    assert_goes_on_after(
        2, tmp_path, synthetic_data, monkeypatch, config=SMALL_TAUGHT
    )


@pytest.mark.slow
def test_two_replicas_stopped_within_an_epoch_end_as_if_they_were_not(
    tmp_path, synthetic_data, monkeypatch, two_replicas
):
    assert_goes_on_after(
        2, tmp_path, synthetic_data, monkeypatch, strategy=two_replicas
    )


@pytest.mark.slow
def test_the_newest_two_states_are_kept(tmp_path, synthetic_data):
    paths, _ = run(tmp_path, synthetic_data)
    kept = tf.io.gfile.glob(f"{paths.latest_checkpoint_dir}/ckpt-*.index")
    # The fourth batch and the end of the second epoch.
    assert sorted(map(os.path.basename, kept)) == [
        "ckpt-10.index",
        "ckpt-12.index",
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, synthetic_data):
    return run(tmp_path_factory.mktemp("job"), synthetic_data)


@pytest.fixture
def copied(finished, tmp_path):
    """The directory of the latest states of a copy of the finished job."""
    shutil.copytree(finished[0].job_dir, tmp_path / "job")
    return tmp_path / "job/checkpoints/latest"


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "cut":
        del content[len(content) // 2 :]
    else:
        for i in range(0, len(content), 7):
            content[i] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "how"),
    [
        ("index", "cut"),
        ("index", "flipped"),
        ("data-00000-of-00001", "cut"),
        ("data-00000-of-00001", "flipped"),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(
    file, how, copied, finished, synthetic_data, caplog
):
    paths, expected = finished
    damage(copied / f"ckpt-12.{file}", how)
    _, metrics = run(copied.parents[1], synthetic_data)
    assert "Cannot read checkpoint" in caplog.text
    assert "latest/ckpt-12 (" in caplog.text
    assert metrics == expected
    assert_same_state(paths.checkpoint_dir, copied.parent)


def test_a_job_whose_checkpoints_are_all_damaged_is_refused(
    copied, synthetic_data
):
    for index in copied.glob("*.index"):
        damage(index, "cut")
    with pytest.raises(
        UserError, match=r"cannot read any checkpoint in .*: ckpt-10, ckpt-12\."
    ):
        run(copied.parents[1], synthetic_data)


def test_checkpoints_without_their_state_file_are_refused(
    copied, synthetic_data
):
    (copied / "checkpoint").unlink()
    with pytest.raises(UserError, match=r"not the file `checkpoint`"):
        run(copied.parents[1], synthetic_data)
    assert (copied / "ckpt-12.index").exists()


def test_a_job_goes_on_though_the_clock_was_set_back(
    copied, finished, synthetic_data
):
    paths, expected = finished
    listed = copied / "checkpoint"
    later, num_times = re.subn(
        r"(_timestamps?: )[\d.]+", r"\g<1>4e9", listed.read_text()
    )
    assert num_times == 3
    listed.write_text(later)
    _, metrics = run(copied.parents[1], synthetic_data)
    assert metrics == expected
    assert_same_state(paths.checkpoint_dir, copied.parent)


@pytest.mark.slow
def test_a_first_checkpoint_that_was_cut_short_starts_the_job_anew(
    tmp_path, synthetic_data, finished
):
    latest = tmp_path / "checkpoints/latest"
    latest.mkdir(parents=True)
    (latest / "checkpoint").write_text(
        'model_checkpoint_path: "ckpt-2"\n'
        'all_model_checkpoint_paths: "ckpt-2"\n'
    )
    (latest / "ckpt-2.data-00000-of-00001").write_bytes(b"half")
    _, metrics = run(tmp_path, synthetic_data)
    assert metrics == finished[1]


def test_best_weights_that_are_gone_are_told(copied, synthetic_data):
    shutil.rmtree(copied.parent / "best")
    with pytest.raises(
        UserError, match=r"best does not hold the weights of epoch \d, the best"
    ):
        run(copied.parents[1], synthetic_data)


@pytest.mark.slow
def test_a_finished_job_that_is_given_more_epochs_trains_them(
    copied, tmp_path, synthetic_data
):
    config = dataclasses.replace(SMALL, num_epochs=3)
    longer, metrics = run(copied.parents[1], synthetic_data, config)
    whole, expected = run(tmp_path / "whole", synthetic_data, config)
    assert metrics == expected
    assert_same_state(longer.checkpoint_dir, whole.checkpoint_dir)
    # Fewer would be another job.
    with pytest.raises(UserError, match="num_epochs was 3 and is 2"):
        run(copied.parents[1], synthetic_data)


@pytest.mark.slow
def test_a_state_within_an_epoch_holds_the_losses_so_far(
    tmp_path, synthetic_data, monkeypatch
):
    stop_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, synthetic_data)
    state = read_latest_state(tmp_path / "checkpoints")
    suffix = "/.ATTRIBUTES/VARIABLE_VALUE"
    assert state[f"num_batches{suffix}"] == 4
    # The count of the first loss: the training ratings of 160 users.
    assert state[f"loss_totals/1{suffix}"] > 160
    assert np.isfinite(state[f"loss_totals/0{suffix}"])


@pytest.mark.parametrize("setting", ["minutes", "steps"])
def test_a_schedule_counts_upwards(setting):
    with pytest.raises(UserError, match=f"`checkpoint_{setting}` must be 0"):
        CheckpointSchedule(**{setting: -1})
