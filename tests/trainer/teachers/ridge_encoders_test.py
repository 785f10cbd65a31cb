import statistics

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.evaluation.baselines import Biases
from trainer.teachers.bayesian_factorization import Posterior
from trainer.teachers.ridge_encoders import LatentMoments, RidgeEncoders

pytestmark = pytest.mark.integration

NORMAL = statistics.NormalDist()
NUM_ITEMS, NUM_SAMPLES, RANK = 9, 3, 2
VALUES = np.array([1.0, 2.0, 4.0, 5.0])
COUNTS = np.arange(1, NUM_ITEMS + 1)
MEANS = np.linspace(2, 4, NUM_ITEMS)

#: The last user rated nothing, and so did one in between.
RATINGS = tf.SparseTensor(
    [[0, 0], [0, 3], [0, 4], [1, 8], [3, 1], [3, 2], [3, 6], [3, 7]],
    [5.0, 1.0, 2.0, 4.0, 2.0, 4.0, 5.0, 1.0],
    [5, NUM_ITEMS],
)


def make_posterior(is_ordinal):
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.normal(size=shape).astype(np.float32)

    num_thresholds = len(VALUES) - 1 if is_ordinal else 0
    return Posterior(
        item_factors=draw(NUM_SAMPLES, NUM_ITEMS, 1 + RANK),
        implicit=draw(NUM_SAMPLES, NUM_ITEMS, 1 + RANK),
        prior_mean=draw(NUM_SAMPLES, 1 + RANK),
        prior_precision=1 + draw(NUM_SAMPLES, 1 + RANK) ** 2,
        noise_precision=np.full(NUM_SAMPLES, 1.0 if is_ordinal else 1.7),
        thresholds=np.sort(draw(NUM_SAMPLES, num_thresholds)),
        values=VALUES if is_ordinal else np.array([3.2, 1.3]),
        is_ordinal=is_ordinal,
        damping=4.0,
    )


def make_model(is_ordinal):
    return RidgeEncoders.from_posterior(
        make_posterior(is_ordinal), COUNTS, MEANS
    )


def predict_one(posterior, sample, items, values):
    """One user's latent ratings in one sample, in float64."""
    offsets = posterior.item_factors[sample, :, 0].astype(float)
    factors = posterior.item_factors[sample].astype(float)
    factors[:, 0] = 1
    implicit = posterior.implicit[sample, items].sum(axis=0)
    prior_mean = posterior.prior_mean[sample] + implicit / np.sqrt(
        len(items) + posterior.damping
    )
    prior_precision = np.diag(posterior.prior_precision[sample].astype(float))
    noise_precision = posterior.noise_precision[sample]
    rated = factors[items]
    precision = noise_precision * rated.T @ rated + prior_precision

    def regress(latents):
        return np.linalg.solve(
            precision,
            prior_precision @ prior_mean
            + noise_precision * rated.T @ (latents - offsets[items]),
        )

    if not posterior.is_ordinal:
        mean, scale = posterior.values
        return offsets + factors @ regress((values - mean) / scale)
    bounds = np.array([-np.inf, *posterior.thresholds[sample], np.inf])
    classes = np.searchsorted(VALUES, values)
    code = prior_mean
    for _ in range(2):
        latents = []
        for mean, c in zip(offsets[items] + rated @ code, classes, strict=True):
            low, high = bounds[c] - mean, bounds[c + 1] - mean
            mass = NORMAL.cdf(high) - NORMAL.cdf(low)
            latents.append(mean + (NORMAL.pdf(low) - NORMAL.pdf(high)) / mass)
        code = regress(np.array(latents))
    return offsets + factors @ code


def expect_rating(posterior, latents):
    """Expected ratings by the latent ones of all samples, in float64."""
    if not posterior.is_ordinal:
        mean, scale = posterior.values
        return mean + scale * latents.mean(axis=0)
    levels = posterior.thresholds.mean(axis=1, keepdims=True)
    thresholds = (posterior.thresholds - levels).mean(axis=0)
    latents = latents - levels
    means, deviations = latents.mean(axis=0), latents.std(axis=0)
    ratings = np.full(len(means), posterior.values[0])
    for step, threshold in zip(
        np.diff(posterior.values), thresholds, strict=True
    ):
        ratings += step * np.array(
            [
                NORMAL.cdf((mean - threshold) / np.sqrt(1 + deviation**2))
                for mean, deviation in zip(means, deviations, strict=True)
            ]
        )
    return ratings


@pytest.mark.parametrize("is_ordinal", [False, True], ids=["real", "classes"])
def test_the_answer_is_that_of_numpy(is_ordinal):
    posterior = make_posterior(is_ordinal)
    answers = make_model(is_ordinal)(RATINGS).numpy()
    biases = Biases(COUNTS, MEANS, "user_item")(RATINGS).numpy()
    indices, values = RATINGS.indices.numpy(), RATINGS.values.numpy()
    for user in range(5):
        own = indices[:, 0] == user
        samples = expect_rating(
            posterior,
            np.array(
                [
                    predict_one(posterior, s, indices[own, 1], values[own])
                    for s in range(NUM_SAMPLES)
                ]
            ),
        )
        share = own.sum() / (own.sum() + 2)
        np.testing.assert_allclose(
            answers[user],
            biases[user] + share * (samples - biases[user]),
            rtol=1e-4,
        )


def test_gaussian_latent_ratings_give_the_mean_over_samples():
    rng = np.random.default_rng(0)
    means, deviations = rng.normal(0, 2, 50), rng.uniform(0, 1.5, 50)
    thresholds = np.array([-1.5, -0.5, 0.6, 1.4])
    moments, ratings = LatentMoments(), []
    for latents in rng.normal(means, deviations, (4000, 50)):
        moments.add(tf.constant(latents))
        cdf = [[NORMAL.cdf(x) for x in latents - t] for t in thresholds]
        ratings.append(1 + np.sum(cdf, axis=0))
    np.testing.assert_allclose(
        moments.expected_ratings(thresholds, np.arange(1.0, 6)),
        np.mean(ratings, axis=0),
        atol=0.02,
    )


def answer_leaning(model, weight):
    """What the model answers where the biases weigh so many ratings."""
    model.biases_weight.assign(weight)
    return model(RATINGS).numpy()


def hold_out(ratings):
    """Pairs of `RATINGS` and the ratings of all entries."""
    rows, columns = np.indices(ratings.shape).reshape(2, -1)
    held_out = tf.SparseTensor(
        np.stack([rows, columns], axis=1), ratings.ravel(), ratings.shape
    )
    return tf.data.Dataset.from_tensors((RATINGS, held_out))


@pytest.mark.parametrize("weight", [1, 8, 64, np.inf])
def test_the_weight_of_the_biases_is_that_of_the_least_validation_error(weight):
    """Ratings that are the answer at a weight are predicted best by it."""
    model = make_model(is_ordinal=True)
    target = answer_leaning(model, weight)
    model.biases_weight.assign(2.0)
    assert model.choose_biases_weight(hold_out(target)) == weight
    assert float(model.biases_weight) == weight


def test_at_the_highest_weight_the_biases_answer_alone():
    np.testing.assert_allclose(
        answer_leaning(make_model(is_ordinal=True), np.inf),
        Biases(COUNTS, MEANS, "user_item")(RATINGS),
        rtol=1e-6,
    )


def test_without_validation_ratings_the_weight_of_the_biases_stays():
    model = make_model(is_ordinal=True)
    nothing = tf.SparseTensor(
        np.zeros([0, 2], np.int64), np.zeros(0, np.float32), [5, NUM_ITEMS]
    )
    batches = tf.data.Dataset.from_tensors((RATINGS, nothing))
    assert model.choose_biases_weight(batches) == 2


@pytest.mark.parametrize("is_ordinal", [False, True], ids=["real", "classes"])
def test_an_empty_history_has_the_answer_of_the_biases(is_ordinal):
    nothing = tf.sparse.from_dense(tf.zeros([2, NUM_ITEMS]))
    np.testing.assert_array_equal(
        make_model(is_ordinal)(nothing),
        Biases(COUNTS, MEANS, "user_item")(nothing),
    )


@pytest.mark.parametrize("is_ordinal", [False, True], ids=["real", "classes"])
def test_some_items_have_the_answers_of_the_catalog(is_ordinal):
    model = make_model(is_ordinal)
    np.testing.assert_allclose(
        model(RATINGS, tf.constant([7, 0, 7], tf.int64)),
        model(RATINGS).numpy()[:, [7, 0, 7]],
        rtol=1e-5,
    )


def test_a_rating_off_the_scale_counts_as_the_nearest_on_it():
    model = make_model(is_ordinal=True)
    off = RATINGS.with_values(RATINGS.values + 0.2)
    np.testing.assert_array_equal(model.encode(off), model.encode(RATINGS))


@pytest.mark.parametrize("is_ordinal", [False, True], ids=["real", "classes"])
def test_a_saved_model_answers_alike(tmp_path, is_ordinal):
    model = make_model(is_ordinal)
    archive = keras.export.ExportArchive()
    archive.track(model)

    def predict(indices, values, dense_shape):
        return model(tf.SparseTensor(indices, values, dense_shape))

    archive.add_endpoint(
        "predict",
        predict,
        input_signature=[
            tf.TensorSpec([None, 2], tf.int64),
            tf.TensorSpec([None], tf.float32),
            tf.TensorSpec([2], tf.int64),
        ],
    )
    archive.write_out(str(tmp_path), verbose=False)
    loaded = tf.saved_model.load(str(tmp_path))
    for ratings in (RATINGS, tf.sparse.slice(RATINGS, [1, 0], [1, NUM_ITEMS])):
        np.testing.assert_allclose(
            loaded.predict(
                ratings.indices, ratings.values, ratings.dense_shape
            ),
            model(ratings),
            rtol=1e-5,
        )


@pytest.mark.parametrize("is_ordinal", [False, True], ids=["real", "classes"])
def test_a_file_gives_the_model_back(tmp_path, is_ordinal):
    model = make_model(is_ordinal)
    path = str(tmp_path / "model.keras")
    model.save(path)
    np.testing.assert_array_equal(
        keras.saving.load_model(path)(RATINGS), model(RATINGS)
    )


def test_in_training_drawn_samples_answer_with_the_same_mean():
    rng = np.random.default_rng(3)
    num_samples = 7

    def draw(*shape):
        return 0.3 * rng.normal(size=shape).astype(np.float32)

    model = RidgeEncoders.from_posterior(
        Posterior(
            item_factors=draw(num_samples, NUM_ITEMS, 1 + RANK),
            implicit=draw(num_samples, NUM_ITEMS, 1 + RANK),
            prior_mean=draw(num_samples, 1 + RANK),
            prior_precision=1 + draw(num_samples, 1 + RANK) ** 2,
            noise_precision=np.full(num_samples, 1.7),
            thresholds=np.zeros((num_samples, 0)),
            values=np.array([3.2, 1.3]),
            is_ordinal=False,
            damping=4.0,
        ),
        COUNTS,
        MEANS,
        seed=5,
    )
    answer = tf.function(lambda: model(RATINGS, training=True))
    answers = np.stack([answer().numpy() for _ in range(400)])
    spread = answers.std(axis=0)
    assert spread[0].min() > 0
    # Four standard errors of a mean of 400.
    distance = np.abs(answers.mean(axis=0) - model(RATINGS).numpy())
    assert np.all(distance <= 4 * spread / 20 + 1e-5)
