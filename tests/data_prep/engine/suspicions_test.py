"""What is suspected, and what gives no cause."""

import numpy as np
import pytest

from data_prep.engine.suspicions import suspect_columns, suspect_values
from data_prep.ratings import compute_statistics
from tests.data_prep.helpers import to_ratings

NEW_YEAR_2001 = 978_307_200.0


def suspect(ratings, timestamps=None):
    """Returns what is suspected of ratings, each of another item."""
    if timestamps is None:
        timestamps = [None] * len(ratings)
    rows = [
        ("u", f"i{k}", rating, time)
        for k, (rating, time) in enumerate(
            zip(ratings, timestamps, strict=True)
        )
    ]
    return list(suspect_values(compute_statistics(to_ratings(rows))))


def repeat(counts):
    """Returns each rating as often as its count says."""
    return [rating for rating, count in counts.items() for _ in range(count)]


@pytest.mark.parametrize(
    ("ratings", "suspicion"),
    [
        pytest.param(
            [*np.arange(-10, 10, 0.5), *[99.0] * 10],
            "99 (10 of 50 ratings, 20.0 %) may mean 'not rated': the other"
            " ratings are from -10 to 9.5. If so, leave it out with"
            " --missing-value=99.",
            id="sentinel_above",
        ),
        pytest.param(
            repeat({-1: 300, **dict.fromkeys(range(1, 11), 70)}),
            "-1 (300 of 1,000 ratings, 30.0 %) may mean 'not rated': the other"
            " ratings are from 1 to 10. If so, leave it out with"
            " --missing-value=-1.",
            id="sentinel_below",
        ),
        pytest.param(
            repeat({0: 7_000, 1: 20, 2: 30, 5: 450, 8: 1_500, 10: 1_000}),
            "0 (7,000 of 10,000 ratings, 70.0 %) may mean 'not rated': the"
            " other ratings are from 1 to 10. If so, leave it out with"
            " --missing-value=0.",
            id="implicit_zeros",
        ),
        pytest.param(
            [5.0] * 1_000,
            "All 1,000 ratings are 5: they do not say what people like better."
            " If another column does, name it with --rating-column.",
            id="always_the_same",
        ),
        pytest.param(
            [0.0, 8.0, 0.0, 7.0],
            "0 (2 of 4 ratings, 50.0 %) may mean 'not rated': the other"
            " ratings are from 7 to 8. If so, leave it out with"
            " --missing-value=0.",
            id="implicit_zeros_of_few_ratings",
        ),
        pytest.param(
            repeat({99: 10, -1: 10, 0: 20, 5: 30, 10: 30}),
            "99 (10 of 100 ratings, 10.0 %) and -1 (10 of 100 ratings, 10.0 %)"
            " may mean 'not rated': the other ratings are from 0 to 10. If so,"
            " leave it out with --missing-value=99,-1.",
            id="two_sentinels",
        ),
    ],
)
def test_value_that_may_mean_not_rated_is_named(ratings, suspicion):
    assert suspect(ratings) == [suspicion]


@pytest.mark.parametrize(
    "ratings",
    [
        pytest.param(repeat({1: 6, 2: 11, 3: 26, 4: 35, 5: 23}), id="stars"),
        pytest.param(
            repeat({k / 2: 5 + 20 * (k % 2 == 0) for k in range(1, 11)}),
            id="half_stars",
        ),
        pytest.param(repeat(dict.fromkeys(range(6), 10)), id="zeros_as_others"),
        pytest.param(
            repeat({0: 15, 1: 7, 2: 10, 3: 25, 4: 30, 5: 13}),
            id="zeros_as_the_worst_grade",
        ),
        pytest.param(repeat({-1: 20, 1: 80}), id="thumbs"),
        pytest.param(repeat({-1: 20, 0: 30, 1: 50}), id="thumbs_and_shrugs"),
        pytest.param(repeat({-2: 9, -1: 9, 0: 9, 1: 9, 2: 9}), id="symmetric"),
        pytest.param(repeat({0: 50, 1: 5}), id="clicks"),
        pytest.param(
            np.floor(np.random.default_rng(0).pareto(0.7, 5_000)) + 1,
            id="play_counts",
        ),
        pytest.param(
            np.random.default_rng(0).exponential(20, 5_000), id="hours"
        ),
    ],
)
def test_ordinary_ratings_are_not_suspected(ratings):
    assert suspect([float(rating) for rating in ratings]) == []


def test_ratings_that_are_times_are_named():
    (suspicion,) = suspect([NEW_YEAR_2001 + k for k in range(9)], range(1, 10))
    assert suspicion == (
        "All ratings are from 978307200 to 978307208: they look like times."
        " Name the columns with --rating-column and --timestamp-column."
    )


def test_times_that_are_all_in_1970_are_named():
    days = range(11_300, 11_303)
    (suspicion,) = suspect([1.0, 2.0, 3.0], days)
    assert suspicion.startswith(
        "All times are in 1970, from 1970-01-01 03:08 to 1970-01-01 03:08: they"
        " are 11300 to 11302 seconds since 1970."
    )
    assert suspect([1.0, 2.0, 3.0], [1.0, 2.0, NEW_YEAR_2001]) == []


def test_many_items_of_few_ratings_look_like_users():
    (suspicion,) = suspect_columns(40, 5_000, 20_000)
    assert suspicion == (
        "There are 5,000 items of 4.0 ratings on average, and only 40 users. If"
        " they are exchanged, name the columns with --user-column and"
        " --item-column."
    )


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param((6_040, 3_706, 1_000_209), id="movielens_1m"),
        pytest.param((610, 9_724, 100_836), id="movielens_latest_small"),
        pytest.param((105_283, 340_556, 1_149_780), id="book_crossing"),
        pytest.param((50, 2_000, 80_000), id="few_users_with_much_in_common"),
    ],
)
def test_ordinary_numbers_of_users_and_items_are_not_suspected(counts):
    assert list(suspect_columns(*counts)) == []
