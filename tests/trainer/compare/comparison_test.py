import dataclasses
import os
import shutil
import signal

import numpy as np
import pytest

from data_prep.dataset.errors import UserError
from data_prep.dataset.files import read_json, write_json
from tests.integration.commands import run, start
from tests.synthetic import prepare_synthetic
from trainer.compare.comparison import choose_models, compare_models
from trainer.compare.models import MODELS

pytestmark = pytest.mark.extended


def test_all_stands_for_every_model(monkeypatch):
    monkeypatch.setattr(
        "trainer.compare.comparison.MODELS",
        {name: MODELS[name] for name in ("popularity", "biases", "ease")},
    )
    assert choose_models(["all"]) == ["popularity", "biases", "ease"]
    assert choose_models(["ease", "biases"]) == ["biases", "ease"]


def test_an_unknown_name_is_an_error_that_lists_the_names():
    with pytest.raises(UserError, match=r"popularity, .*mf, .*Received: 'mft'"):
        choose_models(["biases", "mft"])


def test_a_model_without_its_library_is_skipped_in_one_line(
    monkeypatch, caplog
):
    without = dataclasses.replace(MODELS["mf"], library="no_such_library")
    monkeypatch.setitem(MODELS, "mf", without)
    assert choose_models(["biases", "mf"]) == ["biases"]
    (line,) = [
        record.message for record in caplog.records if record.name == "absl"
    ]
    assert "mf is skipped" in line
    assert "deep-recommender[compare]" in line
    with pytest.raises(UserError, match="none of the models is installed"):
        choose_models(["mf"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_seeds": 0}, "`seeds` must be at least 1. Received: seeds=0"),
        ({"reference": "mf"}, "`reference` must be one .*reference=mf"),
    ],
    ids=["seeds", "reference"],
)
def test_settings_are_checked_first(
    arguments, message, tmp_path, synthetic_data
):
    with pytest.raises(UserError, match=message):
        compare_models(
            [synthetic_data],
            str(tmp_path),
            ["biases"],
            **{"num_seeds": 1, **arguments},
        )


@pytest.mark.integration
def test_a_comparison_that_is_finished_fits_nothing_again(
    tmp_path, synthetic_data
):
    arguments = ([synthetic_data], str(tmp_path), ["popularity"], 2)
    summary = compare_models(*arguments)
    assert summary["models"]["popularity"]["seeds"] == [0]
    assert read_json(str(tmp_path / "compare.json")) == summary
    assert (tmp_path / "compare.html").exists()
    record_path = tmp_path / "popularity" / "seed-0.json"
    record = read_json(str(record_path))
    assert record["peak_bytes"] > 1e8
    # Would be another if it was fitted again.
    write_json(str(record_path), {**record, "seconds": 123.0})
    again = compare_models(*arguments)
    assert again["models"]["popularity"]["seconds"] == 123.0

    write_json(str(record_path), {**record, "data_fingerprint": "other"})
    with pytest.raises(UserError, match="a comparison on other data"):
        compare_models(*arguments)


@pytest.fixture
def two_folds(tmp_path, synthetic_data):
    """Directories of two data sets that differ in their ratings."""
    folds = tmp_path / "folds"
    shutil.copytree(synthetic_data, folds / "u1")
    (tmp_path / "raw").mkdir()
    other = prepare_synthetic(tmp_path / "raw", seed=1)
    shutil.copytree(other, folds / "u2")
    return [str(folds / "u1"), str(folds / "u2")]


@pytest.mark.slow
@pytest.mark.integration
def test_figures_over_folds_are_of_their_records_each_tuned_on_its_own(
    tmp_path, two_folds
):
    summary = compare_models(two_folds, str(tmp_path), ["biases"], 1)
    assert read_json(str(tmp_path / "compare.json")) == summary
    row = summary["models"]["biases"]
    records = {
        name: read_json(str(tmp_path / name / "biases" / "seed-0.json"))
        for name in ("u1", "u2")
    }
    assert records["u1"]["settings"] != records["u2"]["settings"]
    for name, record in records.items():
        of_fold = row["folds"][name]
        assert of_fold["settings"] == record["settings"]
        assert of_fold["mean"] == record["test"]
        assert of_fold["num_trials"] == 20
    fingerprints = [record["data_fingerprint"] for record in records.values()]
    assert list(summary["data_fingerprints"].values()) == fingerprints
    for metric in ("rmse", "mae", "liked/ndcg@10"):
        values = [record["test"][metric] for record in records.values()]
        assert row["mean"][metric] == pytest.approx(np.mean(values))
        assert row["deviation"][metric] == pytest.approx(np.std(values, ddof=1))


@pytest.mark.integration
@pytest.mark.slow
def test_a_second_seed_takes_the_settings_of_its_own_fold(
    tmp_path, two_folds, monkeypatch
):
    biases = dataclasses.replace(MODELS["biases"], is_random=True)
    monkeypatch.setitem(MODELS, "biases", biases)
    compare_models(two_folds, str(tmp_path), ["biases"], 2)
    chosen = []
    for fold in ("u1", "u2"):
        first, second = (
            read_json(str(tmp_path / fold / "biases" / name))
            for name in ("seed-0.json", "seed-1.json")
        )
        assert second["settings"] == first["settings"]
        assert (len(first["trials"]), len(second["trials"])) == (20, 1)
        chosen.append(first["settings"])
    assert chosen[0] != chosen[1]


@pytest.mark.integration
@pytest.mark.slow
def test_the_command_takes_a_glob_and_goes_on_fold_by_fold(tmp_path, two_folds):
    arguments = (
        *("--data-dir", tmp_path / "folds" / "u?", "--models=popularity"),
    )
    code, output, errors = run("trainer.compare", *arguments)
    assert code == 0, errors
    assert "NDCG@10 per fold" in output
    output_dir = tmp_path / "folds" / "compare"
    page = (output_dir / "compare.html").read_text()
    assert "Means over 2 folds: u1, u2." in page
    assert f"--data-dir={','.join(two_folds)}" in page

    paths = [
        output_dir / fold / "popularity" / "seed-0.json"
        for fold in ("u1", "u2")
    ]
    kept = os.stat(paths[0]).st_mtime_ns
    paths[1].unlink()
    code, _, errors = run("trainer.compare", *arguments)
    assert code == 0, errors
    assert "2 of 2: fitting popularity on u2, seed 0" in errors
    assert "popularity on u1" not in errors
    assert os.stat(paths[0]).st_mtime_ns == kept
    assert paths[1].exists()


@pytest.mark.integration
@pytest.mark.slow
def test_a_comparison_that_was_killed_goes_on(tmp_path, synthetic_data):
    arguments = (
        *("--data-dir", synthetic_data, "--output-dir", tmp_path),
        "--models=popularity,biases,ease",
    )
    process = start("trainer.compare", *arguments)
    for line in process.stderr:
        if "fitting ease, seed 0" in line:
            break
    process.send_signal(signal.SIGKILL)
    # Its child holds the other end until it ends as well.
    process.communicate(timeout=60)
    finished = [
        tmp_path / name / "seed-0.json" for name in ("popularity", "biases")
    ]
    times = [os.stat(path).st_mtime_ns for path in finished]
    assert not (tmp_path / "compare.json").exists()

    code, output, errors = run("trainer.compare", *arguments)
    assert code == 0, errors
    assert [os.stat(path).st_mtime_ns for path in finished] == times
    assert "3 of 3: fitting ease, seed 0" in errors
    assert "fitting biases" not in errors
    assert "EASE" in output
    models = read_json(str(tmp_path / "compare.json"))["models"]
    assert models.keys() == {"popularity", "biases", "ease"}
