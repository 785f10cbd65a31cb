import math

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer.evaluation.outcomes import (
    LIKED_FROM,
    NUM_ITEMS,
    random_outcomes,
    split_batches,
)
from trainer.evaluation.ranking import (
    RANKING_METRICS,
    RankingMetrics,
    Rankings,
    rank_unrated,
)


def sparse(rows, num_items):
    """Makes ratings of dicts from item to rating, one per user."""
    entries = [
        (user, item, rating)
        for user, row in enumerate(rows)
        for item, rating in sorted(row.items())
    ]
    return tf.SparseTensor(
        np.array([e[:2] for e in entries], np.int64).reshape(-1, 2),
        np.array([e[2] for e in entries], np.float32),
        [len(rows), num_items],
    )


def measure(ranked, held_out, num_items=200, liked_from=4.0, counts=None):
    """Measures lists of one batch."""
    counts = np.ones(num_items, np.int64) if counts is None else counts
    metrics = RankingMetrics(counts, liked_from)
    held_out = sparse(held_out, num_items)
    metrics.update(
        np.array(ranked, np.int64),
        held_out.indices.numpy(),
        held_out.values.numpy(),
    )
    return metrics.result()


def reference_ndcg(ranked, relevant, k):
    """NDCG of one user, item by item."""
    gain = sum(
        1 / math.log2(rank + 1)
        for rank, item in enumerate(ranked[:k], start=1)
        if item in relevant
    )
    best = sum(
        1 / math.log2(rank + 1) for rank in range(1, min(k, len(relevant)) + 1)
    )
    return gain / best


def test_the_best_unrated_items_come_first():
    scores = tf.constant([[0.1, 0.9, 0.5, 0.7], [4.0, 3.0, 2.0, 1.0]])
    ratings = sparse([{1: 5.0}, {}], 4)
    ranked = rank_unrated(scores, ratings, 2)
    np.testing.assert_array_equal(ranked, [[3, 2], [0, 1]])


def test_an_item_rated_0_is_not_ranked():
    ranked = rank_unrated(tf.constant([[2.0, 1.0]]), sparse([{0: 0.0}], 2), 1)
    np.testing.assert_array_equal(ranked, [[1]])


def test_a_user_without_items_left_gets_minus_1():
    ratings = sparse([{0: 1.0, 1: 1.0}, {0: 1.0}], 2)
    ranked = rank_unrated(tf.zeros([2, 2]), ratings, 2)
    np.testing.assert_array_equal(ranked, [[-1, -1], [1, -1]])


def test_a_small_catalog_gives_short_lists():
    ranked = rank_unrated(tf.constant([[1.0, 3.0]]), sparse([{}], 2), 10)
    np.testing.assert_array_equal(ranked, [[1, 0]])


def test_a_hit_at_rank_2_of_one_relevant_item_is_worth_1_over_log2_3():
    metrics = measure([[7, 3, 5]], [{3: 5.0}])
    assert metrics["all/ndcg@10"] == pytest.approx(1 / math.log2(3))
    assert metrics["all/recall@10"] == 1


def test_a_list_of_all_relevant_items_is_worth_1():
    metrics = measure([[7, 3]], [{3: 5.0, 7: 4.0}])
    assert metrics["liked/ndcg@10"] == pytest.approx(1)


def test_the_ideal_list_is_no_longer_than_the_cutoff():
    held_out = dict.fromkeys(range(20), 5.0)
    metrics = measure([list(range(20))], [held_out])
    assert metrics["all/ndcg@10"] == pytest.approx(1)
    assert metrics["all/recall@10"] == 0.5


def test_liked_items_are_those_rated_at_the_threshold_or_above():
    metrics = measure([[1, 2]], [{1: 3.5, 2: 4.0, 9: 5.0}])
    assert metrics["all/recall@10"] == pytest.approx(2 / 3)
    assert metrics["liked/recall@10"] == pytest.approx(1 / 2)


def test_a_user_who_liked_nothing_counts_among_all_only():
    metrics = measure([[1], [1]], [{1: 5.0}, {2: 1.0}])
    assert metrics["liked/ndcg@10"] == 1
    assert metrics["all/ndcg@10"] == 0.5


def test_minus_1_is_never_a_hit():
    # Item 199 of the user before would be its number, were -1 an item.
    metrics = measure([[0], [-1]], [{199: 5.0}, {5: 5.0}])
    assert metrics["all/recall@10"] == 0


def reference_figures(ranked, relevant):
    """All metrics of one user, item by item."""
    is_hit = [item in relevant for item in ranked]
    precisions = [
        sum(is_hit[:rank]) / rank for rank in range(1, 11) if is_hit[rank - 1]
    ]
    return {
        "ndcg@10": reference_ndcg(ranked, relevant, 10),
        "ndcg@100": reference_ndcg(ranked, relevant, 100),
        "recall@10": sum(is_hit[:10]) / len(relevant),
        "recall@50": sum(is_hit[:50]) / len(relevant),
        "hit_rate@10": float(any(is_hit[:10])),
        "mrr@10": 1 / (is_hit.index(True) + 1) if any(is_hit[:10]) else 0,
        "map@10": sum(precisions) / len(relevant),
    }


def test_batches_add_up_to_the_metrics_of_each_user_in_turn():
    rng = np.random.default_rng(0)
    num_items = 150
    metrics = RankingMetrics(np.ones(num_items, np.int64), liked_from=4)
    expected = []
    for num_users in (3, 4):
        ranked = np.stack(
            [rng.permutation(num_items)[:100] for _ in range(num_users)]
        )
        rows = [
            dict.fromkeys(
                rng.permutation(num_items)[: rng.integers(1, 30)], 5.0
            )
            for _ in range(num_users)
        ]
        held_out = sparse(rows, num_items)
        metrics.update(
            ranked, held_out.indices.numpy(), held_out.values.numpy()
        )
        expected += [
            reference_figures(list(items), row)
            for items, row in zip(ranked, rows, strict=True)
        ]
    assert expected[0].keys() == RANKING_METRICS.keys()
    for name in RANKING_METRICS:
        assert metrics.result()[f"liked/{name}"] == pytest.approx(
            np.mean([figures[name] for figures in expected])
        )


def test_lists_of_ten_say_coverage_top_share_and_popularity():
    first = list(range(10))
    second = [0, *range(10, 19)]
    counts = np.arange(40)
    metrics = measure(
        [[*first, 39], [*second, 39]],
        [{1: 5.0}, {1: 5.0}],
        num_items=40,
        counts=counts,
    )
    assert metrics["coverage"] == 19 / 40
    assert metrics["top_share"] == 1
    assert metrics["mean_popularity"] == np.mean(counts[first + second])


def test_metrics_without_users_are_0():
    result = RankingMetrics(np.ones(3, np.int64), liked_from=4).result()
    assert set(result.values()) == {0.0}


# It compiles for a minute.
@pytest.mark.slow
# ranx mixes signed and unsigned integers.
@pytest.mark.filterwarnings("ignore:unsafe cast from uint64 to int64")
def test_every_metric_is_that_of_ranx():
    import ranx

    outcomes = random_outcomes(num_users=60)
    rankings = Rankings(np.ones(NUM_ITEMS, np.int64), LIKED_FROM)
    for batch in split_batches(outcomes, 23):
        rankings.update(batch)
    figures = rankings.result()["good"]
    for relevant, lowest in (("all", 0), ("liked", LIKED_FROM)):
        qrels, run = {}, {}
        is_relevant = outcomes.ratings >= lowest
        for user, item in outcomes.held_out[is_relevant]:
            qrels.setdefault(f"{user}", {})[f"{item}"] = 1
            run[f"{user}"] = {
                f"{listed}": 1 / rank
                for rank, listed in enumerate(
                    outcomes.ranked["good"][user], start=1
                )
            }
        expected = ranx.evaluate(
            ranx.Qrels(qrels), ranx.Run(run), list(RANKING_METRICS)
        )
        for metric, value in expected.items():
            assert figures[f"{relevant}/{metric}"] == pytest.approx(value)


def test_novelty_is_the_mean_of_bits_of_the_items_share_of_ratings():
    # Shares of 1/2, 1/4, 1/8 and 1/8.
    metrics = measure(
        [[0, 3], [1, -1]], [{}, {}], num_items=4, counts=np.array([4, 2, 1, 1])
    )
    assert metrics["novelty"] == pytest.approx((1 + 3 + 2) / 3)


def test_gini_is_half_the_mean_difference_over_the_mean():
    metrics = measure([[0, 1, 2], [0, 1, -1]], [{}, {}], num_items=4)
    listed = np.array([2, 2, 1, 0])
    differences = np.abs(listed[:, np.newaxis] - listed)
    assert metrics["gini"] == pytest.approx(
        differences.mean() / 2 / listed.mean()
    )


def test_overlap_is_the_mean_share_of_items_that_two_lists_have_in_common():
    rng = np.random.default_rng(0)
    ranked = np.stack([rng.permutation(25)[:10] for _ in range(6)])
    expected = [
        len(set(first) & set(second)) / 10
        for place, first in enumerate(ranked)
        for second in ranked[:place]
    ]
    metrics = measure(ranked, [{}] * 6, num_items=25)
    assert metrics["overlap"] == pytest.approx(np.mean(expected))
