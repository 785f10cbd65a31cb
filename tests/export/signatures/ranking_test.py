"""Compares the highest of many scores with a sort of all of them."""

import numpy as np
import pytest
import tensorflow as tf

from export.signatures.ranking import top_k


def sort_all(scores, k):
    positions = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, positions, axis=1), positions


@pytest.mark.parametrize(
    ("num_scores", "k"),
    [
        (1, 0),
        (1, 1),
        (7, 7),
        (500, 10),
        (800, 10),
        (801, 10),
        (1000, 1),
        (17_768, 100),
    ],
)
def test_the_best_scores_are_found_in_order(num_scores, k):
    scores = np.random.default_rng(num_scores).normal(size=(5, num_scores))
    scores = scores.astype(np.float32)

    best, positions = top_k(tf.constant(scores), k)

    expected, expected_positions = sort_all(scores, k)
    np.testing.assert_array_equal(best, expected)
    np.testing.assert_array_equal(positions, expected_positions)
    assert positions.dtype == tf.int32


@pytest.mark.parametrize("k", [0, 3, 299, 300])
def test_the_number_of_scores_may_be_a_tensor(k):
    function = tf.function(top_k)
    scores = np.random.default_rng(0).normal(size=(4, 300)).astype(np.float32)

    best, positions = function(scores, tf.constant(k))

    expected, expected_positions = sort_all(scores, k)
    np.testing.assert_array_equal(best, expected)
    np.testing.assert_array_equal(positions, expected_positions)


def test_the_best_may_all_be_neighbours():
    scores = np.zeros((1, 1000), np.float32)
    scores[0, 500:510] = np.arange(10) + 1

    best, positions = top_k(tf.constant(scores), 10)

    np.testing.assert_array_equal(best[0], np.arange(10, 0, -1))
    np.testing.assert_array_equal(positions[0], np.arange(509, 499, -1))


@pytest.mark.parametrize("num_finite", [0, 3, 9])
def test_what_is_ruled_out_comes_last(num_finite):
    scores = np.full((2, 1003), -np.inf, np.float32)
    scores[:, 1003 - num_finite :] = np.arange(num_finite)

    best, positions = top_k(tf.constant(scores), 10)

    np.testing.assert_array_equal(best, sort_all(scores, 10)[0])
    expected = np.arange(1002, 1002 - num_finite, -1)
    np.testing.assert_array_equal(positions[:, :num_finite], [expected] * 2)


def test_equal_scores_are_named_once_each():
    scores = np.random.default_rng(0).integers(0, 5, (20, 4001))
    scores = scores.astype(np.float32)

    best, positions = top_k(tf.constant(scores), 50)

    np.testing.assert_array_equal(best, sort_all(scores, 50)[0])
    found = np.take_along_axis(scores, positions.numpy(), axis=1)
    np.testing.assert_array_equal(found, best)
    assert all(len(set(row)) == 50 for row in positions.numpy().tolist())


def test_the_number_of_rows_may_be_unknown():
    function = tf.function(
        lambda scores: top_k(scores, 3),
        input_signature=[tf.TensorSpec([None, 300], tf.float32)],
    )
    scores = np.random.default_rng(0).normal(size=(4, 300)).astype(np.float32)

    np.testing.assert_array_equal(function(scores)[0], sort_all(scores, 3)[0])
    assert function(scores[:0])[0].shape == (0, 3)
