import collections
import datetime
import random

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from data_prep.dataset.errors import UserError
from data_prep.splits.registry import SPLITS, make_split
from tests.data_prep import oracle
from tests.data_prep.helpers import to_ratings

ORACLES = {
    "user-time": oracle.user_time,
    "global-time": oracle.global_time,
    "leave-last-out": oracle.leave_last_out,
    "random": oracle.random,
}
NETFLIX = ["netflix-full", "netflix-3m", "netflix-6m", "netflix-1y"]
IDS = st.text("ab:1é😀 '\"", min_size=1, max_size=3)
ROWS = st.lists(
    st.tuples(
        IDS,
        IDS,
        st.sampled_from([-10.0, 0.0, 0.5, 5.0]),
        st.integers(-5, 40).map(float),
    ),
    min_size=1,
    max_size=60,
    unique_by=lambda row: row[:2],
)


def find_quantiles(rows):
    """Returns what finds the timestamps that follow shares of all."""
    timestamps = sorted(row[3] for row in rows)
    return lambda shares: [
        [*timestamps, np.inf][int(len(rows) * share)] for share in shares
    ]


def assign(rows, split, seed=0):
    cuts = split.find_cuts(find_quantiles(rows))
    ratings = to_ratings(rows)
    outcomes = split.assign(ratings, seed, cuts)
    users = ratings.user_ids.to_pylist()
    items = ratings.item_ids.to_pylist()
    return {
        (users[user], items[item]): split.outcomes[outcome]
        for user, item, outcome in zip(
            ratings.users, ratings.items, outcomes, strict=True
        )
    }


@pytest.mark.parametrize("name", ORACLES)
@hypothesis.given(rows=ROWS, seed=st.integers(-3, 2**40))
@hypothesis.settings(max_examples=30)
def test_split_equals_the_oracle(name, rows, seed):
    assert assign(rows, make_split(name), seed) == ORACLES[name](rows, seed)


@hypothesis.given(
    rows=st.lists(
        st.tuples(
            IDS,
            IDS,
            st.just(1.0),
            # Seconds around the first and last moments of all the days.
            st.sampled_from(
                [
                    datetime.datetime.fromisoformat(f"{day}T00:00Z").timestamp()
                    for day in (
                        *("1999-11-11", "1999-12-01", "2004-06-01"),
                        *("2005-06-01", "2005-07-01", "2005-09-01"),
                        *("2005-12-01", "2006-01-01"),
                    )
                ]
            ).flatmap(lambda t: st.sampled_from([t - 1, t, t + 1])),
        ),
        min_size=1,
        max_size=60,
        unique_by=lambda row: row[:2],
    ),
    seed=st.integers(0, 9),
)
@hypothesis.settings(max_examples=20)
@pytest.mark.parametrize("name", NETFLIX)
def test_netflix_days_equal_the_oracle(name, rows, seed):
    split = make_split(name)
    days = split.training_days, split.evaluation_days
    assert assign(rows, split, seed) == oracle.netflix(rows, seed, *days)


@hypothesis.given(rows=ROWS, seed=st.integers(0, 9), data=st.data())
@hypothesis.settings(max_examples=20)
def test_fold_equals_the_oracle(rows, seed, data):
    rows = [(*row, data.draw(st.booleans())) for row in rows]
    split = make_split("fold", validation_fraction=0.3)
    assert assign(rows, split, seed) == oracle.fold(rows, seed, "0.3")


@pytest.mark.parametrize("name", ["global-time", "random"])
@hypothesis.given(
    rows=ROWS,
    shares=st.sampled_from([("0.25", "0.5"), ("0", "0.3"), ("0.001", "0.9")]),
)
@hypothesis.settings(max_examples=20)
def test_fractions_equal_the_oracle(name, rows, shares):
    validation, test = shares
    split = make_split(
        name, validation_fraction=float(validation), test_fraction=float(test)
    )
    assert assign(rows, split) == ORACLES[name](rows, 0, validation, test)


@pytest.mark.parametrize("name", ORACLES)
def test_order_of_the_rows_does_not_matter(name, rows):
    split = make_split(name)
    expected = assign(rows, split)
    for seed in range(3):
        shuffled = random.Random(seed).sample(rows, len(rows))
        assert assign(shuffled, split) == expected


@pytest.mark.parametrize("name", ["user-time", "random"])
def test_seed_changes_what_is_held_out(name, rows):
    split = make_split(name)
    assert assign(rows, split, seed=1) != assign(rows, split, seed=2)


def test_user_time_holds_a_user_out_in_one_part_only(rows):
    parts = {}
    for (user, _), part in assign(rows, make_split("user-time")).items():
        parts.setdefault(user, set()).add(part)
    assert {frozenset(p) for p in parts.values()} == {
        frozenset({"train", "validation"}),
        frozenset({"train", "test"}),
    }


@pytest.mark.parametrize(
    ("num_ratings", "num_train"), [(2, 1), (3, 2), (10, 7), (90, 63)]
)
def test_user_time_trains_on_seven_tenths_rounded_down(num_ratings, num_train):
    rows = [("u", f"i{k}", 1.0, float(k)) for k in range(num_ratings)]
    parts = assign(rows, make_split("user-time"))
    trained = [item for (_, item), part in parts.items() if part == "train"]
    assert sorted(trained) == sorted(f"i{k}" for k in range(num_train))


@pytest.mark.parametrize("name", ["user-time", "leave-last-out"])
def test_items_of_the_same_day_are_held_out_alike_whatever_their_ids(name):
    """Three hundred users rate 20 of 100 items each, on one day per user."""
    rng = random.Random(0)
    rows = [
        (f"u{user}", f"i{item:02d}", 3.0, 86_400.0 * (10_000 + user % 50))
        for user in range(300)
        for item in rng.sample(range(100), 20)
    ]
    trained = collections.Counter(
        item
        for (_, item), part in assign(rows, make_split(name)).items()
        if part == "train"
    )
    counts = np.array([trained[f"i{k:02d}"] for k in range(100)])
    assert counts.min() > counts.mean() / 2
    # Five standard deviations of the difference of the two means.
    bound = 5 * np.std(counts) * np.sqrt(2 / 50)
    assert abs(counts[:50].mean() - counts[50:].mean()) < bound


def test_user_time_names_the_reason_for_users_with_one_rating():
    parts = assign([("u", "i", 1.0, 0.0)], make_split("user-time"))
    assert set(parts.values()) == {"user_with_fewer_than_2_ratings"}


def test_dates_are_utc_and_cut_before_the_first_moment_they_name():
    day = 24 * 3600.0
    rows = [("u", f"i{k}", 1.0, k * day / 2) for k in range(6)]
    split = make_split(
        "global-time", validation_from="1970-01-02", test_from="1970-01-03"
    )
    parts = assign(rows, split)
    assert [parts["u", f"i{k}"] for k in range(6)] == [
        *["train"] * 2,
        *["validation"] * 2,
        *["test"] * 2,
    ]


def test_movielens_user_time_is_the_same_split_by_another_name():
    assert make_split("movielens-user-time") == make_split("user-time")


def test_published_counts_are_the_papers():
    """Table 2 of the paper, and what the training users were."""
    assert {
        name: SPLITS[name].published_counts["train_ratings"] for name in NETFLIX
    } == {
        "netflix-full": 98_074_901,
        "netflix-3m": 13_675_402,
        "netflix-6m": 29_179_009,
        "netflix-1y": 41_451_832,
    }


def test_netflix_halves_are_halves():
    december = 1_133_500_000.0
    rows = [("u", f"i{k}", 1.0, december) for k in range(10_000)]
    parts = list(assign(rows, make_split("netflix-full")).values())
    # Three standard deviations of a binomial share are 0.015.
    assert abs(parts.count("test") / len(parts) - 0.5) < 0.015


def test_random_fractions_are_kept_on_average():
    rows = [("u", f"i{k}", 1.0, 0.0) for k in range(20_000)]
    split = make_split("random", validation_fraction=0.2, test_fraction=0.1)
    parts = list(assign(rows, split).values())
    # Three standard deviations of a binomial share are below 0.0085.
    assert abs(parts.count("validation") / len(parts) - 0.2) < 0.01
    assert abs(parts.count("test") / len(parts) - 0.1) < 0.01


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        pytest.param(
            "by-time",
            {},
            r"unknown split 'by-time'. The splits are: user-time,"
            r" leave-last-out, .*, netflix-1y, movielens-user-time",
            id="unknown_name",
        ),
        pytest.param(
            "user-time",
            {"test_fraction": 0.1},
            "split user-time does not use --test-fraction",
            id="unused_fraction",
        ),
        pytest.param(
            "random",
            {"test_from": "2000-01-01"},
            "split random does not use --test-from",
            id="unused_date",
        ),
        pytest.param(
            "random",
            {"validation_fraction": 0.5, "test_fraction": 0.5},
            "together less than 1. Received: 0.5 and 0.5",
            id="nothing_to_train_on",
        ),
        pytest.param(
            "global-time",
            {"test_fraction": float("nan")},
            "Received: 0.1 and nan",
            id="nan",
        ),
        pytest.param(
            "random",
            {"test_fraction": -0.1},
            "Received: 0.1 and -0.1",
            id="negative",
        ),
        pytest.param(
            "global-time",
            {"test_from": "2000-01-01"},
            "--validation-from together with --test-from",
            id="one_date",
        ),
        pytest.param(
            "global-time",
            {
                "validation_from": "2000-01-01",
                "test_from": "2001-01-01",
                "test_fraction": 0.1,
            },
            "not a mixture",
            id="dates_and_fractions",
        ),
        pytest.param(
            "global-time",
            {"validation_from": "2001-01-01", "test_from": "2000-01-01"},
            "--validation-from must be before --test-from",
            id="dates_out_of_order",
        ),
        pytest.param(
            "global-time",
            {"validation_from": "1/2/2000", "test_from": "2001-01-01"},
            r"--validation-from must be an ISO date.*Received: '1/2/2000'",
            id="not_a_date",
        ),
    ],
)
def test_unusable_parameters_are_named(name, parameters, message):
    with pytest.raises(UserError, match=message):
        make_split(name, **parameters)
