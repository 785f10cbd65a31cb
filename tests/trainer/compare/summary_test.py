import numpy as np
import pytest

from trainer.compare.summary import summarize
from trainer.compare.table import make_tables
from trainer.text_table import format_table


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
    return {
        "data": [
            record("popularity", 0, None, 0.2),
            record("biases", 0, 1.0, 0.15),
            record("mf", 0, 0.91, 0.1, seconds=1.0),
            record("mf", 1, 0.93, 0.12, seconds=3.0),
        ]
    }


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
        fit = records["data"][seed]
        fit["seconds"] = fit["tuning_seconds"] = None
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
    records["data"][1]["resampled"]["rmse"][1:] = rng.normal(1.0, 0.1, 1000)
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


@pytest.fixture
def folds():
    """Two seeds of a model and one of another, on two folds."""
    return {
        "u1": [
            record("biases", 0, 1.0, 0.15),
            record("mf", 0, 0.91, 0.1),
            record("mf", 1, 0.93, 0.12),
        ],
        "u2": [
            record("biases", 0, 0.9, 0.25, seconds=4.0),
            record("mf", 0, 0.85, 0.2),
            record("mf", 1, 0.89, 0.24),
        ],
    }


def test_figures_of_folds_are_means_over_them_with_their_deviation(folds):
    models = summarize(folds)["models"]
    by_fold = [np.mean([0.91, 0.93]), np.mean([0.85, 0.89])]
    row = models["mf"]
    assert row["mean"]["rmse"] == pytest.approx(np.mean(by_fold))
    assert row["deviation"]["rmse"] == pytest.approx(np.std(by_fold, ddof=1))
    assert row["seeds"] == [0, 1]
    assert models["biases"]["seconds"] == 3.0
    assert models["biases"]["deviation"]["rmse"] == pytest.approx(
        np.std([1.0, 0.9], ddof=1)
    )


def test_each_fold_has_the_figures_that_it_has_alone(folds):
    models = summarize(folds)["models"]
    for fold, records in folds.items():
        alone = summarize({fold: records})["models"]
        for name, row in alone.items():
            of_fold = models[name]["folds"][fold]
            assert of_fold == {key: row[key] for key in of_fold}
            assert {"mean", "deviation", "settings", "seeds"} <= of_fold.keys()


def test_an_interval_over_folds_is_of_the_mean_of_independent_resamples(folds):
    rng = np.random.default_rng(0)
    for records in folds.values():
        # The same draws in all folds, as fits make them.
        noise = np.random.default_rng(1).normal(0, 0.02, 1000)
        for fit in records:
            fit["resampled"]["rmse"][1:] = fit["test"]["rmse"] + noise
        biases = records[0]["resampled"]["rmse"]
        biases[1:] += rng.normal(0, 0.01, 1000)
    models = summarize(folds)["models"]
    row = models["biases"]["intervals"]["rmse"]
    assert row["difference"] == pytest.approx(0.95 - 0.895)
    # 1.96 standard errors of a mean of two; 1,000 resamples tell it to 10 %.
    half = 1.96 * 0.01 / np.sqrt(2)
    assert row["difference_low"] == pytest.approx(0.055 - half, abs=half / 10)
    assert row["difference_high"] == pytest.approx(0.055 + half, abs=half / 10)
    row = models["mf"]["intervals"]["rmse"]
    half = 1.96 * 0.02 / np.sqrt(2)
    assert row["low"] == pytest.approx(0.895 - half, abs=half / 10)
    assert row["high"] == pytest.approx(0.895 + half, abs=half / 10)


def test_tables_of_folds_follow_those_of_means(folds):
    tables = make_tables(summarize(folds))
    assert [table.title for table in tables[1::2]] == [
        "RMSE per fold",
        "NDCG@10 per fold",
    ]
    assert tables[1].header == ["model", "u1", "u2"]
    assert tables[1].rows[1] == ["user and item biases", "1.0000", "0.9000"]
    assert tables[0].rows[1][1] == "0.9500 ± 0.0707"


def test_errors_with_cold_items_are_shown_where_there_are_some(records):
    def set_cold(num_cold):
        for fit in records["data"]:
            if "rmse" in fit["test"]:
                fit["test"] |= {
                    "num_ratings": 9,
                    "rmse_with_cold": 1.25,
                    "num_ratings_with_cold": 9 + num_cold,
                }

    for num_cold, is_shown in ((0, False), (1, True)):
        set_cold(num_cold)
        errors, lists = make_tables(summarize(records))
        assert ("with cold items" in errors.header) == is_shown
        assert ("1.2500" in errors.rows[0]) == is_shown
        assert "with cold items" not in lists.header
