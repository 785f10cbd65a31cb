import numpy as np
import pytest
from scipy import stats

from tests.trainer.evaluation.outcomes import random_outcomes, split_batches
from trainer.evaluation.deviations import Deviations


def measure(batches):
    measure = Deviations((1.0, 5.0))
    for batch in batches:
        measure.update(batch)
    return measure.result()


@pytest.fixture(scope="module")
def outcomes():
    return random_outcomes()


@pytest.fixture(scope="module")
def figures(outcomes):
    return measure(split_batches(outcomes, 11))["good"]


def test_the_figures_are_those_of_scipy(outcomes, figures):
    errors = outcomes.predictions["good"] - outcomes.ratings
    deviations = outcomes.deviations["good"]
    normal = stats.norm(scale=deviations.astype(np.float64))
    assert figures["nll"] == pytest.approx(-normal.logpdf(errors).mean())
    for level, share in figures["coverage"].items():
        low, high = normal.interval(float(level))
        assert share == pytest.approx(
            np.mean((low <= errors) & (errors <= high))
        )
    assert figures["correlation"] == pytest.approx(
        np.corrcoef(abs(errors), deviations)[0, 1]
    )
    assert figures["mean_deviation"] == pytest.approx(deviations.mean())
    assert figures["num_ratings"] == len(errors)


def test_tenths_hold_ever_larger_deviations(outcomes, figures):
    rows = figures["by_deviation"]
    assert len(rows) == 10
    sizes = [row["num_ratings"] for row in rows]
    assert sum(sizes) == len(outcomes.ratings)
    order = np.argsort(outcomes.deviations["good"], kind="stable")
    errors = (outcomes.predictions["good"] - outcomes.ratings)[order]
    deviations = outcomes.deviations["good"][order]
    starts = np.cumsum([0, *sizes])
    for row, start, end in zip(rows, starts, starts[1:], strict=False):
        assert row["rmse"] == pytest.approx(
            np.sqrt(np.mean(errors[start:end].astype(float) ** 2))
        )
        assert row["mean_deviation"] == pytest.approx(
            np.sqrt(np.mean(deviations[start:end].astype(float) ** 2))
        )


def test_who_knows_no_deviations_is_not_measured(outcomes):
    assert measure([outcomes]).keys() == {"good"}


def test_deviations_that_are_too_small_show(outcomes, figures):
    smaller = outcomes._replace(
        deviations={"good": outcomes.deviations["good"] / 10}
    )
    too_sure = measure([smaller])["good"]
    assert too_sure["coverage"]["0.95"] < 0.5 < figures["coverage"]["0.95"]
    assert too_sure["nll"] > figures["nll"] + 1


def test_equal_deviations_have_no_correlation(outcomes):
    equal = np.ones_like(outcomes.deviations["good"])
    figures = measure([outcomes._replace(deviations={"good": equal})])["good"]
    assert figures["correlation"] == 0
    assert len(figures["by_deviation"]) == 1
