import numpy as np
import pytest
import tensorflow as tf

from tests.trainer.model.taught_autoencoder_test import (
    low_rank_data,
    taught_model,
    to_sparse,
)
from trainer.evaluation.ranking import RankingMetrics, rank_unrated
from trainer.job.blend_weights import (
    RATING_WEIGHTS,
    choose_network_weight,
    choose_rating_weight,
)


@pytest.fixture
def data():
    """Ratings, training mask, validation mask, teacher."""
    ratings, rated, teacher = low_rank_data(num_users=60)
    held_out = rated & (np.random.default_rng(1).random(rated.shape) < 0.3)
    noise = np.random.default_rng(2).normal(0, 1, ratings.shape)
    return ratings + noise, rated & ~held_out, held_out, teacher


def to_batches(ratings, rated, held_out):
    """Batches of 40 and 20 users' training and held-out ratings."""
    spec = tf.SparseTensorSpec([None, ratings.shape[1]], tf.float32)
    return tf.data.Dataset.from_generator(
        lambda: (
            (
                to_sparse(ratings[users], rated[users]),
                to_sparse(ratings[users], held_out[users]),
            )
            for users in (slice(0, 40), slice(40, 60))
        ),
        output_signature=(spec, spec),
    )


def test_the_network_weight_is_what_least_squares_prove(data):
    ratings, rated, held_out, teacher = data
    model = taught_model(ratings, rated, teacher)
    model.rating_layer.reverse_bias.assign(
        tf.random.normal(model.rating_layer.reverse_bias.shape)
    )
    inputs = to_sparse(ratings, rated)
    network = model(inputs).numpy()[held_out]
    taught = teacher(inputs).numpy()[held_out]
    # The truth lies in the middle, but for some noise.
    ratings[held_out] = (network + taught) / 2 + np.random.default_rng(
        3
    ).normal(0, 0.5, held_out.sum())
    differences, errors = network - taught, ratings[held_out] - taught
    expected = np.linalg.lstsq(differences[:, np.newaxis], errors, rcond=None)[
        0
    ]
    expected -= 2 * np.sqrt(np.mean(errors**2) / np.sum(differences**2))
    weight = choose_network_weight(model, to_batches(ratings, rated, held_out))
    assert weight == pytest.approx(np.clip(expected[0], 0, 1), rel=1e-3)
    assert 0 < weight < 1
    assert float(model.network_weight) == pytest.approx(weight)


def test_a_network_that_only_errs_gets_no_weight(data):
    ratings, rated, held_out, teacher = data
    model = taught_model(ratings, rated, teacher)
    model.centering.mean.assign(1000.0)
    weight = choose_network_weight(model, to_batches(ratings, rated, held_out))
    assert weight == 0


def test_the_rating_weight_is_the_smallest_of_a_high_ndcg(data):
    ratings, rated, held_out, teacher = data
    model = taught_model(ratings, rated, teacher)
    counts = rated.sum(axis=0)
    weight = choose_rating_weight(
        model, to_batches(ratings, rated, held_out), counts, liked_from=3.0
    )
    inputs, answers = to_sparse(ratings, rated), to_sparse(ratings, held_out)
    gains = {}
    for rating_weight in RATING_WEIGHTS:
        model.rating_weight.assign(rating_weight)
        metrics = RankingMetrics(counts, liked_from=3.0)
        metrics.update(
            rank_unrated(model.score(model.answer(inputs)), inputs).numpy(),
            answers.indices.numpy(),
            answers.values.numpy(),
        )
        result = metrics.result()
        gains[rating_weight] = result["liked/ndcg@10"] + result["all/ndcg@10"]
    enough = 0.99 * max(gains.values())
    assert gains[weight] >= enough
    assert all(gains[w] < enough for w in RATING_WEIGHTS if w < weight)
    assert len(set(gains.values())) > 1
