"""Publishes versions, and refuses to publish wrong ones."""

import base64
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from data_prep.dataset.errors import UserError
from export import versions
from export.cpp_loader import CppSavedModel
from export.saved_model import export_job, find_export
from export.settings import ExportSettings
from export.versions import list_versions
from trainer.job.paths import JobPaths
from trainer.job.record import load_job, read_config
from trainer.training.train import train_and_evaluate

pytestmark = pytest.mark.extended

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def exported(trained_job, tmp_path_factory):
    """A version that was published without the data at hand."""
    return Path(
        export_job(
            move(trained_job, tmp_path_factory.mktemp("export")),
            ExportSettings(top_k=7, history_length=48),
        )
    )


def move(paths, export_dir):
    return JobPaths.resolve(
        paths.job_dir, export_dir=str(export_dir), environ={}
    )


def answer(version_dir, signature, **inputs):
    function = tf.saved_model.load(version_dir).signatures[signature]
    result = function(**{key: tf.constant(v) for key, v in inputs.items()})
    return {name: tensor.numpy() for name, tensor in result.items()}


# ---- Versions ----


def test_no_directory_no_versions(tmp_path):
    assert list_versions(str(tmp_path / "nowhere")) == []


def test_versions_count_up_and_what_a_killed_run_left_is_removed(tmp_path):
    for name in ("3", "12", "notes", ".unfinished-9"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").touch()
    with versions.new_version(str(tmp_path)) as (draft, published):
        assert published == str(tmp_path / "13")
        os.mkdir(draft)
        assert list_versions(str(tmp_path)) == [3, 12]
    assert {path.name for path in tmp_path.iterdir()} == {
        *("3", "12", "13", "notes")
    }


def test_on_an_object_store_a_version_gets_its_model_last(monkeypatch):
    # An object store in memory.
    export_dir = "ram://publishing_test"
    moved = []
    rename = tf.io.gfile.rename

    def record(source, target):
        assert list_versions(export_dir) == []
        moved.append(os.path.relpath(target, f"{export_dir}/1"))
        rename(source, target)

    monkeypatch.setattr(tf.io.gfile, "rename", record)
    with versions.new_version(export_dir) as (draft, published):
        for name in ("saved_model.pb", "variables/variables.index"):
            path = f"{draft}/{name}"
            tf.io.gfile.makedirs(os.path.dirname(path))
            with tf.io.gfile.GFile(path, "w") as file:
                file.write("content")
    assert published == f"{export_dir}/1"
    assert moved == ["variables/variables.index", "saved_model.pb"]
    assert list_versions(export_dir) == [1]
    assert tf.io.gfile.listdir(export_dir) == ["1"]


def test_a_version_whose_publishing_was_cut_short_counts_as_none(tmp_path):
    (tmp_path / "1" / "variables").mkdir(parents=True)
    assert list_versions(str(tmp_path)) == []
    with versions.new_version(str(tmp_path)) as (draft, published):
        os.mkdir(draft)
    assert published == str(tmp_path / "2")


def test_a_version_that_fails_leaves_nothing_behind(tmp_path):
    (tmp_path / "1").mkdir()

    def fail():
        with versions.new_version(str(tmp_path)) as (draft, _):
            os.mkdir(draft)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert os.listdir(tmp_path) == ["1"]


@pytest.mark.parametrize(
    ("keep", "left"), [(0, [5]), (1, [4, 5]), (2, [2, 4, 5]), (9, [1, 2, 4, 5])]
)
def test_old_versions_are_removed_but_never_the_newest(tmp_path, keep, left):
    for version in (1, 2, 4, 5):
        (tmp_path / str(version)).mkdir()
        (tmp_path / str(version) / "saved_model.pb").touch()
    versions.remove_old_versions(str(tmp_path), keep)
    assert sorted(os.listdir(tmp_path)) == [str(version) for version in left]


# ---- What is checked before ----


def test_a_saved_model_that_differs_from_the_model_is_not_published(
    trained_job, tmp_path, monkeypatch
):
    run = CppSavedModel.run

    def run_otherwise(self, feeds, fetches):
        return [
            np.full_like(output, np.inf) if output.dtype == "f" else output
            for output in run(self, feeds, fetches)
        ]

    monkeypatch.setattr(CppSavedModel, "run", run_otherwise)
    with pytest.raises(RuntimeError, match="It is not published"):
        export_job(move(trained_job, tmp_path))
    assert os.listdir(tmp_path) == []


def test_other_data_than_the_job_s_is_refused(
    trained_job, synthetic_data, tmp_path
):
    shutil.copytree(synthetic_data, tmp_path / "data")
    manifest = tmp_path / "data/manifest.json"
    manifest.write_text(manifest.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(UserError, match="does not hold the data that the job"):
        export_job(
            move(trained_job, tmp_path / "export"),
            ExportSettings(data_dir=str(tmp_path / "data")),
        )
    assert not (tmp_path / "export").exists()


@pytest.mark.slow
def test_kill_9_in_the_middle_leaves_the_old_version_and_no_other(
    exported, trained_job, tmp_path
):
    export_dir = tmp_path / "export"
    shutil.copytree(exported, export_dir / "1")
    command = [
        *(sys.executable, "-m", "export.task"),
        *("--job-dir", trained_job.job_dir, "--export-dir", export_dir),
    ]
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        stderr=subprocess.DEVNULL,
    )
    draft = export_dir / ".unfinished-2"
    while not (draft / "variables").exists():
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert draft.exists()
    assert list_versions(str(export_dir)) == [1]
    tf.saved_model.load(str(export_dir / "1"))
    with versions.new_version(str(export_dir)) as (draft, _):
        assert os.listdir(export_dir) == ["1"]
        os.mkdir(draft)
    assert sorted(os.listdir(export_dir)) == ["1", "2"]


@pytest.mark.parametrize("year", [1980, 2100])
def test_a_version_is_the_job_s_as_long_as_these_are_its_best_weights(
    year, exported, trained_job, synthetic_data, tmp_path
):
    job_dir = tmp_path / "job"
    shutil.copytree(trained_job.job_dir, job_dir)
    paths = move(
        JobPaths.resolve(str(job_dir), environ={}), tmp_path / "export"
    )
    assert find_export(paths) is None
    version_dir = tmp_path / "export/1"
    shutil.copytree(exported, version_dir)
    # The clock was wrong when the version was written.
    seconds = time.mktime((year, 1, 1, 0, 0, 0, 0, 0, 0))
    for path in version_dir.rglob("*"):
        os.utime(path, (seconds, seconds))
    assert find_export(paths) == str(version_dir)

    config = dataclasses.replace(read_config(paths), num_epochs=4)
    strategy = tf.distribute.get_strategy()
    metrics = train_and_evaluate(config, synthetic_data, paths, strategy)
    assert metrics["best_epoch"] == 4
    assert find_export(paths) is None


def test_a_version_of_an_earlier_release_is_not_taken_for_the_job_s(
    exported, trained_job, tmp_path
):
    version_dir = tmp_path / "1"
    shutil.copytree(exported, version_dir)
    (version_dir / "assets.extra/origin.json").unlink()
    assert find_export(move(trained_job, tmp_path)) is None


# ---- What it comes with ----


def test_the_digests_are_those_of_sha256sum_and_of_every_file(
    exported, tmp_path
):
    version = tmp_path / "copy"
    shutil.copytree(exported, version)

    def check():
        return subprocess.run(
            ["sha256sum", "--check", "--strict", "assets.extra/SHA256SUMS"],
            cwd=version,
            capture_output=True,
            text=True,
            check=False,
        )

    assert check().returncode == 0
    listed = {line.split(": ")[0] for line in check().stdout.splitlines()}
    assert listed == {
        str(path.relative_to(version))
        for path in version.rglob("*")
        if path.is_file() and path.name != "SHA256SUMS"
    }
    with (version / "variables/variables.index").open("ab") as file:
        file.write(b"x")
    assert "variables/variables.index: FAILED" in check().stdout


def test_the_card_says_what_the_model_is(exported, trained_job):
    card = (exported / "assets.extra/model_card.md").read_text()
    job = load_job(trained_job)
    metrics = json.loads(Path(trained_job.metrics_file).read_text())
    for text in (
        f"{metrics['test']['rmse']:.4f}",
        f"{metrics['baselines']['biases']['mae']:.4f}",
        job.data.fingerprint,
        "200",
        "2,800 train",
        "0 to 10",
        "- top_k: `7`",
        "- history_length: `48`",
        "- hidden_units: `[16, 8]`",
        "| output | item_ids | string | [batch, 7] |",
        "may lie beyond it",
        "Pad histories to 48 items",
    ):
        assert text in card
    assert not re.search(r"\{\w*\}", card)


def test_the_card_s_requests_are_answered(exported):
    card = (exported / "assets.extra/model_card.md").read_text()
    requests = re.findall(r"```json\n(.*)\n```", card)
    assert len(requests) == 10
    model = tf.saved_model.load(str(exported))
    for text in requests:
        request = json.loads(text)
        signature = model.signatures[request["signature_name"]]
        (row,) = request["instances"]
        if "examples" in row:
            row["examples"] = base64.b64decode(row["examples"]["b64"])
        inputs = {name: tf.constant([value]) for name, value in row.items()}
        for output in signature(**inputs).values():
            assert len(output) == 1


# ---- What can be chosen ----


def test_the_number_of_recommendations_is_chosen_at_export(exported):
    answers = answer(
        exported,
        "serving_default",
        item_ids=[["item-1"]],
        ratings=[[5.0]],
    )
    assert answers["item_ids"].shape == (1, 7)


def test_the_length_to_pad_to_can_be_chosen(exported):
    (length,) = answer(exported, "describe", item_ids=[[""]])["history_length"]
    assert length == 48


@pytest.mark.slow
def test_without_data_and_metrics_a_job_can_be_exported_all_the_same(
    trained_job, tmp_path
):
    shutil.copytree(trained_job.job_dir, tmp_path / "job")
    os.remove(tmp_path / "job/metrics.json")
    version = export_job(
        JobPaths.resolve(str(tmp_path / "job"), environ={}),
        ExportSettings(
            clip_predictions=True, default_signature="recommend_examples"
        ),
    )
    (length,) = answer(version, "describe", item_ids=[[""]])["history_length"]
    # 14 training ratings per user, times 6, rounded up to 16.
    assert length == 96
    card = Path(version, "assets.extra/model_card.md").read_text()
    assert "exported before it was evaluated" in card
    assert "clipped to it; the ranking is not" in card
    examples = {"examples": [b""]}
    by_default = answer(version, "serving_default", **examples)
    by_name = answer(version, "recommend_examples", **examples)
    assert by_default["item_ids"].tolist() == by_name["item_ids"].tolist()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"top_k": 0}, "`top_k` must be 1 or more. Received: top_k=0"),
        ({"history_length": 0}, "`history_length` must be 1 or more"),
        ({"keep": -1}, "`keep` must be 0 or more. Received: keep=-1"),
        (
            {"rank_by": "fame"},
            "`rank_by` must be one of score, rating, interest. Received:"
            " rank_by='fame'",
        ),
        (
            {"default_signature": "encode"},
            "`default_signature` must be one of recommend, recommend_examples,"
            " predict_examples. Received: default_signature='encode'",
        ),
    ],
)
def test_a_setting_that_no_export_can_use_is_refused(setting, message):
    with pytest.raises(UserError, match=message):
        ExportSettings(**setting)


@pytest.mark.slow
def test_the_command_takes_the_settings_and_says_where_the_version_is(
    exported, trained_job, synthetic_data, tmp_path
):
    shutil.copytree(exported, tmp_path / "7")
    shutil.copytree(exported, tmp_path / "8")
    result = subprocess.run(
        [
            *(sys.executable, "-m", "export.task"),
            *("--job-dir", trained_job.job_dir),
            *("--export-dir", tmp_path, "--data-dir", synthetic_data),
            *("--top-k=3", "--clip-predictions", "--history-length=9"),
            *("--keep=1", "--default-signature=predict_examples"),
            "--rank-by=rating",
        ],
        cwd=REPOSITORY,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == f"Exported {tmp_path}/9\n"
    assert sorted(os.listdir(tmp_path)) == ["8", "9"]
    card = (tmp_path / "9/assets.extra/model_card.md").read_text()
    for line in (
        "- top_k: `3`",
        "- rank_by: rating",
        "- clip_predictions: `true`",
        "- history_length: `9`",
        "- default_signature: predict_examples",
    ):
        assert line in card
