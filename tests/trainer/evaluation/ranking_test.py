import math

import numpy as np
import pytest
import tensorflow as tf

from trainer.evaluation.ranking import RankingMetrics, rank_unrated


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


def test_batches_add_up_to_the_metrics_of_each_user_in_turn():
    rng = np.random.default_rng(0)
    num_items = 150
    metrics = RankingMetrics(np.ones(num_items, np.int64), liked_from=4)
    expected = {"ndcg@10": [], "ndcg@100": [], "recall@50": []}
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
        for items, row in zip(ranked, rows, strict=True):
            for k in (10, 100):
                expected[f"ndcg@{k}"].append(reference_ndcg(items, row, k))
            hits = len(set(items[:50]) & set(row))
            expected["recall@50"].append(hits / len(row))
    for name, values in expected.items():
        assert metrics.result()[f"liked/{name}"] == pytest.approx(
            np.mean(values)
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
