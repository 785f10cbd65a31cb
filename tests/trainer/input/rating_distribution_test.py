import numpy as np
import pytest

from data_prep.dataset.items import read_items
from trainer.input.rating_distribution import (
    RatingDistribution,
    read_rating_distribution,
)
from trainer.teachers.training_ratings import read_training_ratings


@pytest.mark.parametrize(
    ("values", "liked_from", "disliked_below"),
    [
        ([1, 2, 3, 3, 4, 4, 4, 5, 5], 4, 3),
        ([20, 40, 60, 60, 80, 80, 80, 100, 100], 80, 60),
        ([1, 1, 1, 1, 1, 1, 1, 1, 1], 1, 1),
        ([1, 1, 2, 2, 3, 9, 40, 500, 350_000], 3, 2),
    ],
    ids=["stars", "percent", "clicks", "plays"],
)
def test_the_upper_half_is_liked_and_the_lowest_quarter_disliked(
    values, liked_from, disliked_below
):
    distribution = RatingDistribution.of(np.array(values, np.float32))
    assert distribution.liked_from == liked_from
    assert distribution.disliked_below == disliked_below


def test_quantiles_and_deviation_are_those_of_numpy():
    ratings = np.random.default_rng(0).integers(1, 11, 1001).astype(np.float32)
    distribution = RatingDistribution.of(ratings)
    ordered = np.sort(ratings)
    assert distribution.liked_from == ordered[500]
    assert distribution.disliked_below == ordered[250]
    np.testing.assert_allclose(distribution.deviation, ratings.std(), rtol=1e-6)


def test_prepared_data_has_the_distribution_of_its_training_ratings(
    synthetic_data,
):
    read = read_rating_distribution(synthetic_data)
    held = RatingDistribution.of(read_training_ratings(synthetic_data).values)
    np.testing.assert_array_equal(read.values, held.values)
    np.testing.assert_array_equal(read.counts, held.counts)
    assert read.counts.sum() == read_items(synthetic_data).counts.sum()
