import numpy as np
import pytest

from tests.trainer.evaluation.outcomes import (
    LIKED_FROM,
    NUM_ITEMS,
    random_outcomes,
    split_batches,
)
from trainer.evaluation.breakdown import Breakdown
from trainer.evaluation.ranking import RankingMetrics

COUNTS = np.arange(NUM_ITEMS) // 3


@pytest.fixture(scope="module")
def outcomes():
    return random_outcomes(num_users=60)


@pytest.fixture(scope="module")
def breakdown(outcomes):
    breakdown = Breakdown(COUNTS, LIKED_FROM, (1.0, 5.0))
    for batch in split_batches(outcomes, 25):
        breakdown.update(batch)
    return breakdown


def rmse_where(outcomes, name, is_in):
    errors = outcomes.predictions[name] - outcomes.ratings
    return np.sqrt(np.mean(errors[is_in].astype(float) ** 2))


def test_tenths_of_activity_have_the_errors_of_their_users(outcomes, breakdown):
    lengths = outcomes.history_lengths
    rows = breakdown.by_user_activity()
    for row in rows:
        is_in = (lengths >= row["min_ratings"]) & (
            lengths <= row["max_ratings"]
        )
        assert row["num_users"] == is_in.sum()
        for name in ("good", "bad"):
            assert row["errors"][name]["rmse"] == pytest.approx(
                rmse_where(outcomes, name, is_in[outcomes.users]), rel=1e-6
            )
    assert sum(row["num_users"] for row in rows) == len(lengths)


def test_tenths_of_activity_have_the_ndcg_of_their_users(outcomes, breakdown):
    for row in breakdown.by_user_activity():
        (users,) = np.nonzero(
            (outcomes.history_lengths >= row["min_ratings"])
            & (outcomes.history_lengths <= row["max_ratings"])
        )
        is_in = np.isin(outcomes.users, users)
        held_out = outcomes.held_out[is_in].copy()
        held_out[:, 0] = np.searchsorted(users, held_out[:, 0])
        metrics = RankingMetrics(COUNTS, LIKED_FROM)
        metrics.update(
            outcomes.ranked["bad"][users], held_out, outcomes.ratings[is_in]
        )
        assert row["liked/ndcg@10"]["bad"] == pytest.approx(
            metrics.result()["liked/ndcg@10"]
        )


def test_tenths_of_popularity_have_the_errors_and_hits_of_their_items(
    outcomes, breakdown
):
    rows = breakdown.by_item_popularity()
    assert len(rows) == 10
    assert sum(row["num_items"] for row in rows) == NUM_ITEMS
    for row in rows:
        counts = COUNTS[outcomes.items]
        is_in = (counts >= row["min_ratings"]) & (counts <= row["max_ratings"])
        assert row["errors"]["good"]["rmse"] == pytest.approx(
            rmse_where(outcomes, "good", is_in), rel=1e-6
        )
        liked = outcomes.held_out[is_in & (outcomes.ratings >= LIKED_FROM)]
        found = [
            item in outcomes.ranked["good"][user, :50] for user, item in liked
        ]
        assert row["liked/recall@50"]["good"] == pytest.approx(np.mean(found))


def test_users_with_equally_many_ratings_stay_together(outcomes):
    breakdown = Breakdown(COUNTS, LIKED_FROM, (1.0, 5.0))
    alike = np.full_like(outcomes.history_lengths, 7)
    breakdown.update(outcomes._replace(history_lengths=alike))
    (row,) = breakdown.by_user_activity()
    assert (row["min_ratings"], row["max_ratings"]) == (7, 7)
    assert row["num_users"] == len(alike)
