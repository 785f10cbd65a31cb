import numpy as np
import pytest

from trainer.compare.summary import summarize
from trainer.compare.table import format_table, make_tables


def record(model, seed, rmse, ndcg, seconds=2.0):
    """Makes the record of a fit; `None` for a metric that it lacks."""
    metrics = {"rmse": rmse, "liked/ndcg@10": ndcg}
    present = {name: value for name, value in metrics.items() if value}
    noise = np.linspace(-0.01, 0.01, 1000)
    return {
        "model": model,
        "seed": seed,
        "settings": {"k": 3},
        "num_epochs": 0,
        "validation": {"rmse": 0.5},
        "trials": [{}, {}],
        "seconds": seconds,
        "tuning_seconds": 10.0,
        "peak_bytes": 2_000_000_000,
        "test": {
            **present,
            **({"mae": 0.7} if rmse else {}),
            "liked/recall@50": 0.2,
            "coverage": 0.1,
        },
        "resampled": {
            name: [value, *(value + noise)] for name, value in present.items()
        },
    }


@pytest.fixture
def records():
    return [
        record("popularity", 0, None, 0.2),
        record("biases", 0, 1.0, 0.15),
        record("mf", 0, 0.91, 0.1, seconds=1.0),
        record("mf", 1, 0.93, 0.12, seconds=3.0),
    ]


def test_figures_are_means_over_seeds_with_their_deviation(records):
    row = summarize(records)["models"]["mf"]
    assert row["seeds"] == [0, 1]
    assert row["mean"]["rmse"] == pytest.approx(0.92)
    assert row["deviation"]["rmse"] == pytest.approx(0.02 / np.sqrt(2))
    assert row["seconds"] == 2.0
    assert row["tuning_seconds"] == 10.0
    assert not summarize(records)["models"]["biases"]["deviation"]


def test_a_fit_that_was_stopped_and_went_on_has_no_seconds(records):
    for seed, known in ((2, 3.0), (3, None)):
        records[seed]["seconds"] = records[seed]["tuning_seconds"] = None
        summary = summarize(records)
        assert summary["models"]["mf"]["seconds"] == known
    assert make_tables(summary)[0].rows[0][-3] == ""


def test_differences_are_to_the_best_of_each_metric(records):
    summary = summarize(records)
    assert summary["references"] == {
        "rmse": "mf",
        "liked/ndcg@10": "popularity",
    }
    models = summary["models"]
    assert "difference" not in models["mf"]["intervals"]["rmse"]
    row = models["biases"]["intervals"]["rmse"]
    # What varies is the same for both: pairs leave no doubt.
    for name in ("difference", "difference_low", "difference_high"):
        assert row[name] == pytest.approx(0.08)
    assert row["low"] == pytest.approx(0.9905, abs=1e-4)
    row = models["mf"]["intervals"]["liked/ndcg@10"]
    assert row["difference"] == pytest.approx(0.11 - 0.2)
    assert "rmse" not in models["popularity"]["intervals"]


def test_the_ends_of_a_difference_are_in_order(records):
    rng = np.random.default_rng(0)
    records[1]["resampled"]["rmse"][1:] = rng.normal(1.0, 0.1, 1000)
    row = summarize(records)["models"]["biases"]["intervals"]["rmse"]
    assert row["difference_low"] < row["difference"] < row["difference_high"]


def test_a_named_reference_takes_the_place_of_the_best(records):
    summary = summarize(records, "biases")
    assert set(summary["references"].values()) == {"biases"}
    row = summary["models"]["mf"]["intervals"]["rmse"]
    assert row["difference"] == pytest.approx(-0.08)


def test_tables_have_the_best_first_and_aligned_columns(records):
    errors, lists = make_tables(summarize(records))
    assert [row[0] for row in errors.rows] == [
        "biased matrix factorization",
        "user and item biases",
    ]
    assert lists.rows[0][0] == "popularity"
    assert errors.rows[0][1] == "0.9200 ± 0.0141"
    assert errors.rows[1][3] == "+0.0800 [+0.0800, +0.0800]"
    assert [row[-1] for row in errors.rows] == ["no", "yes"]
    title, *lines = format_table(errors).splitlines()
    assert title == errors.title
    assert len({len(line) for line in lines}) == 1
