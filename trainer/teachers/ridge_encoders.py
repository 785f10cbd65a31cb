"""Encoders in closed form: a user's code is a ridge regression."""

import math
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from trainer.model.layers import PACKAGE, RatingCentering
from trainer.model.rating_model import RatingModel
from trainer.teachers.bayesian_factorization import Posterior

#: Rounds of expectation and regression on an ordinal scale.
_NUM_ROUNDS = 2

#: Number of ratings in whose place the biases stand at first.
_BIASES_WEIGHT = 2.0

#: Numbers of ratings that are tried: with the highest, the biases answer alone.
BIASES_WEIGHTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 256.0, math.inf)

#: Users encoded at the same time.
_PARALLEL_USERS = 4

#: Samples that answer for all of them in training mode.
_NUM_DRAWN = 4

#: A latent rating that no threshold comes near.
_FAR = 30.0


class _Samples(NamedTuple):
    """The weights of some samples; shapes as those of the model."""

    item_factors: tf.Tensor
    implicit: tf.Tensor
    prior_mean: tf.Tensor
    prior_precision: tf.Tensor
    noise_precision: tf.Tensor
    thresholds: tf.Tensor


@keras.saving.register_keras_serializable(package=PACKAGE)
class RidgeEncoders(RatingModel):
    """Predicts the mean rating over samples of a Bayesian factorization.

    A sample says of a user's latent rating `t` of item `i`

        t = offset[i] + [1, factors[i]] @ code + noise
        code ~ Normal(mean + sum of implicit[j] / sqrt(n + damping), variance)

    where the sum is over the `n` items `j` that the user rated. Given item
    factors and ratings, the mean of the code is one ridge regression: the
    sample is an encoder in closed form. It knows no user ids, and answers
    users whom training never saw like all others.

    On a continuous scale `t` is the standardized rating. On an ordinal scale
    the rating is the number of thresholds below `t`: `t` is replaced by its
    expectation, given the rating and the code so far, and the regression
    repeated. The answer is the expected rating (see `LatentMoments`).

    What a sample says of nearly empty histories, it extrapolates. So the
    answer is a mean of biases and samples, in which the biases weigh as much
    as `biases_weight` ratings, two unless validation ratings chose otherwise,
    and the samples as much as the user's `n`.

    Args:
        num_items: size of the catalog.
        num_samples: number of samples.
        rank: number of factors beside the bias.
        num_classes: number of ratings of an ordinal scale; 0 if the scale is
            continuous.
        damping: see `GibbsSampler`.
        seed: seed of the samples that answer in training mode.

    Call arguments:
        ratings: SparseTensor `(batch_size, num_items)`, float32.
        items: `(num_asked,)`, int64, the items to predict, by default the
            catalog in order.
        training: whether a few samples, drawn anew, answer for all: a student
            sees their mean over its steps, at a fraction of the cost.

    Output shape:
        `(batch_size, num_items)` or `(batch_size, num_asked)`, float32.
    """

    def __init__(
        self,
        num_items: int,
        num_samples: int,
        rank: int,
        num_classes: int,
        damping: float,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_items = num_items
        self.num_samples = num_samples
        self.rank = rank
        self.num_classes = num_classes
        self.damping = damping
        self.seed = seed
        self.centering = RatingCentering("user_item")
        self.centering.build((None, num_items))
        size = 1 + rank

        def add(name: str, *shape: int) -> Any:
            return self.add_weight(
                name=name,
                shape=shape,
                initializer="zeros",
                dtype="float32",
                trainable=False,
            )

        # An item's numbers of all samples lie together: a user reads those of
        # the items that they rated.
        self.item_factors = add("item_factors", num_items, num_samples, size)
        self.implicit = add("implicit", num_items, num_samples, size)
        self.prior_mean = add("prior_mean", num_samples, size)
        self.prior_precision = add("prior_precision", num_samples, size)
        self.noise_precision = add("noise_precision", num_samples)
        self.thresholds = add(
            "thresholds", num_samples, max(num_classes - 1, 0)
        )
        self.values = add("values", num_classes or 2)
        self.biases_weight = self.add_weight(
            name="biases_weight",
            shape=(),
            initializer=keras.initializers.Constant(_BIASES_WEIGHT),
            dtype="float32",
            trainable=False,
        )
        self.draws = keras.random.SeedGenerator(seed)
        self.built = True

    @classmethod
    def from_posterior(
        cls,
        posterior: Posterior,
        counts: np.ndarray,
        means: np.ndarray,
        seed: int | None = None,
    ) -> "RidgeEncoders":
        """Makes the encoders of some samples.

        Args:
            posterior: the samples.
            counts: `(num_items,)`, the number of training ratings of each.
            means: `(num_items,)`, their mean; anything where the count is 0.
            seed: see the class.
        """
        num_samples, num_items, size = posterior.item_factors.shape
        model = cls(
            num_items,
            num_samples,
            size - 1,
            len(posterior.values) if posterior.is_ordinal else 0,
            posterior.damping,
            seed,
        )
        model.centering.set_statistics(counts, means)
        # The level that offsets and thresholds have in common says nothing.
        thresholds = posterior.thresholds
        item_factors = posterior.item_factors.copy()
        if posterior.is_ordinal:
            levels = thresholds.mean(axis=1, keepdims=True)
            thresholds = thresholds - levels
            item_factors[..., 0] -= levels
        model.item_factors.assign(item_factors.transpose(1, 0, 2))
        model.implicit.assign(posterior.implicit.transpose(1, 0, 2))
        model.prior_mean.assign(posterior.prior_mean)
        model.prior_precision.assign(posterior.prior_precision)
        model.noise_precision.assign(posterior.noise_precision)
        model.thresholds.assign(thresholds)
        model.values.assign(posterior.values)
        return model

    def call(
        self,
        ratings: tf.SparseTensor,
        items: tf.Tensor | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        samples = self._read(training)
        codes = self._encode(ratings, samples)
        return self._answer(codes, samples, ratings, items)

    def decode(
        self,
        codes: tf.Tensor,
        ratings: tf.SparseTensor,
        items: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Computes the answers to users of known codes.

        Args:
            codes: what `encode` returns for `ratings`.
            ratings: as for a call.
            items: as for a call.

        Returns:
            As a call.
        """
        samples = self._read(training=False)
        return self._answer(codes, samples, ratings, items)

    def _answer(
        self,
        codes: tf.Tensor,
        samples: _Samples,
        ratings: tf.SparseTensor,
        items: tf.Tensor | None,
    ) -> tf.Tensor:
        if items is not None:
            samples = samples._replace(
                item_factors=tf.gather(samples.item_factors, items)
            )
        return self.add_biases(self._decode(codes, samples), ratings, items)

    def add_biases(
        self,
        samples: tf.Tensor,
        ratings: tf.SparseTensor,
        items: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Averages what the samples say and what the biases say.

        Args:
            samples: the answers of the samples, as a call returns them.
            ratings: as for a call.
            items: as for a call.
        """
        _, user_offsets = self.centering(ratings)
        biases = self.centering.restore(
            tf.zeros_like(samples), user_offsets, items
        )
        counts = _count_ratings(ratings)
        # Users without ratings get the biases, whatever these weigh.
        shares = tf.math.divide_no_nan(counts, counts + self.biases_weight)
        return biases + (samples - biases) * shares

    def choose_biases_weight(self, batches: tf.data.Dataset) -> float:
        """Sets the weight of the biases that predicts held-out ratings best.

        Where there are few ratings, what the samples add to the biases may be
        noise; the weight says from which length of history on it is not.

        Args:
            batches: pairs of training and validation ratings of the same
                users, SparseTensors `(batch_size, num_items)`.

        Returns:
            The one of `BIASES_WEIGHTS` with the least squared error over the
            validation ratings; the present weight if there are none.
        """

        @tf.function(input_signature=[batches.element_spec], autograph=False)
        def measure(
            batch: tuple[tf.SparseTensor, tf.SparseTensor],
        ) -> tf.Tensor:
            ratings, held_out = batch
            users = held_out.indices[:, 0]
            samples = self._decode(self.encode(ratings), self._read(False))
            _, user_offsets = self.centering(ratings)
            biases = self.centering.restore(
                tf.zeros_like(samples), user_offsets
            )
            samples, biases = (
                tf.gather_nd(answer, held_out.indices)
                for answer in (samples, biases)
            )
            counts = tf.gather(_count_ratings(ratings)[:, 0], users)
            # (num_weights, num_held_out)
            shares = counts / (
                counts + tf.constant(BIASES_WEIGHTS)[:, tf.newaxis]
            )
            errors = biases + (samples - biases) * shares - held_out.values
            return tf.reduce_sum(errors**2, axis=1)

        squares = np.zeros(len(BIASES_WEIGHTS))
        for batch in batches:
            squares += measure(batch).numpy()
        if squares.any():
            self.biases_weight.assign(BIASES_WEIGHTS[int(np.argmin(squares))])
        return float(tf.convert_to_tensor(self.biases_weight))

    def encode(self, ratings: tf.SparseTensor) -> tf.Tensor:
        """Computes the users' codes, one for each sample.

        Args:
            ratings: SparseTensor `(batch_size, num_items)`, float32.

        Returns:
            `(batch_size, num_samples, 1 + rank)`, the user's bias first.
        """
        return self._encode(ratings, self._read(training=False))

    def _read(self, training: bool) -> _Samples:
        """Reads the samples; in training mode a few of them, drawn anew."""
        samples = _Samples(
            *(
                tf.convert_to_tensor(weight)
                for weight in (
                    self.item_factors,
                    self.implicit,
                    self.prior_mean,
                    self.prior_precision,
                    self.noise_precision,
                    self.thresholds,
                )
            )
        )
        if not training or self.num_samples <= _NUM_DRAWN:
            return samples
        draws = keras.random.uniform([self.num_samples], seed=self.draws)
        drawn = tf.math.top_k(draws, _NUM_DRAWN, sorted=False).indices
        return _Samples(
            item_factors=tf.gather(samples.item_factors, drawn, axis=1),
            implicit=tf.gather(samples.implicit, drawn, axis=1),
            prior_mean=tf.gather(samples.prior_mean, drawn),
            prior_precision=tf.gather(samples.prior_precision, drawn),
            noise_precision=tf.gather(samples.noise_precision, drawn),
            thresholds=tf.gather(samples.thresholds, drawn),
        )

    def _encode(self, ratings: tf.SparseTensor, samples: _Samples) -> tf.Tensor:
        users = tf.range(ratings.dense_shape[0] + 1)
        starts = tf.searchsorted(ratings.indices[:, 0], users)

        def encode_user(user: tf.Tensor) -> tf.Tensor:
            own = slice(starts[user], starts[user + 1])
            items = ratings.indices[own, 1]
            # (num_samples, num_rated, 1 + rank)
            factors = tf.transpose(
                tf.gather(samples.item_factors, items), [1, 0, 2]
            )
            return self._regress(
                samples,
                ratings.values[own],
                factors[..., 0],
                _with_ones(factors),
                tf.reduce_sum(tf.gather(samples.implicit, items), axis=0),
            )

        return tf.map_fn(
            encode_user,
            users[:-1],
            parallel_iterations=_PARALLEL_USERS,
            fn_output_signature=tf.TensorSpec(samples.prior_mean.shape),
        )

    def _regress(
        self,
        samples: _Samples,
        ratings: tf.Tensor,
        offsets: tf.Tensor,
        features: tf.Tensor,
        implicit: tf.Tensor,
    ) -> tf.Tensor:
        """Computes the codes of one user, `(num_samples, 1 + rank)`.

        Args:
            samples: the samples that answer.
            ratings: `(num_rated,)`.
            offsets: `(num_samples, num_rated)`.
            features: `(num_samples, num_rated, 1 + rank)`.
            implicit: sums over the rated items, `(num_samples, 1 + rank)`.
        """
        noise_precision = samples.noise_precision[:, tf.newaxis]
        count = tf.cast(tf.size(ratings), tf.float32)
        prior_mean = samples.prior_mean + implicit * tf.math.rsqrt(
            tf.maximum(count + self.damping, 1.0)
        )
        cholesky = tf.linalg.cholesky(
            noise_precision[..., tf.newaxis]
            * tf.matmul(features, features, transpose_a=True)
            + tf.linalg.diag(samples.prior_precision)
        )

        def solve(latents: tf.Tensor) -> tf.Tensor:
            slopes = tf.linalg.matvec(
                features, latents - offsets, transpose_a=True
            )
            right = (
                samples.prior_precision * prior_mean + noise_precision * slopes
            )
            return tf.linalg.cholesky_solve(cholesky, right[..., tf.newaxis])[
                ..., 0
            ]

        if not self.num_classes:
            return solve((ratings - self.values[0]) / self.values[1])
        low, high = self._class_bounds(ratings, samples.thresholds)
        code = prior_mean
        for _ in range(_NUM_ROUNDS):
            means = offsets + tf.linalg.matvec(features, code)
            code = solve(means + _truncated_mean(low - means, high - means))
        return code

    def _class_bounds(
        self, ratings: tf.Tensor, thresholds: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the thresholds around ratings, `(num_samples, num_rated)`."""
        # The nearest rating of the scale, for one that is not on it.
        classes = tf.searchsorted(
            (self.values[1:] + self.values[:-1]) / 2, ratings
        )
        edge = tf.fill([thresholds.shape[0], 1], _FAR)
        bounds = tf.concat([-edge, thresholds, edge], axis=1)
        return (
            tf.gather(bounds, classes, axis=1),
            tf.gather(bounds, classes + 1, axis=1),
        )

    def _decode(self, codes: tf.Tensor, samples: _Samples) -> tf.Tensor:
        """Computes the expected ratings.

        Args:
            codes: `(batch_size, num_samples, 1 + rank)`.
            samples: the samples, of the items asked for.

        Returns:
            `(batch_size, num_asked)`.
        """
        # One product per sample: [bias, code] @ [1, factors] and an offset.
        offsets = samples.item_factors[..., 0]
        factors = _with_ones(samples.item_factors)
        num_samples = factors.shape[1]
        if not self.num_classes:
            latents = tf.matmul(
                _flatten(codes), _flatten(factors), transpose_b=True
            ) + tf.reduce_sum(offsets, axis=1)
            return self.values[0] + self.values[1] * latents / num_samples
        moments = LatentMoments()
        for offset, code, factor in zip(
            tf.unstack(offsets, axis=1),
            tf.unstack(codes, num_samples, axis=1),
            tf.unstack(factors, axis=1),
            strict=True,
        ):
            moments.add(offset + tf.matmul(code, factor, transpose_b=True))
        return moments.expected_ratings(
            tf.reduce_mean(samples.thresholds, axis=0), self.values
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_items": self.num_items,
            "num_samples": self.num_samples,
            "rank": self.rank,
            "num_classes": self.num_classes,
            "damping": self.damping,
            "seed": self.seed,
        }


class LatentMoments:
    """Mean and variance over samples of latent ratings, summed up one by one.

    The expected rating of an ordinal scale is a sum of the probabilities that
    latent rating and noise exceed a threshold. Over samples of the posterior
    the latent rating is close to Gaussian, and then

        mean of cdf(latent - threshold)
            = cdf((mean - threshold) / sqrt(1 + variance))

    So one distribution function per threshold does for all samples.
    """

    def __init__(self) -> None:
        self._num_samples = 0
        self._sum: Any = 0.0
        self._squares: Any = 0.0

    def add(self, latents: tf.Tensor) -> None:
        """Adds a sample: latent ratings relative to its mean threshold."""
        self._num_samples += 1
        self._sum += latents
        self._squares += latents * latents

    def expected_ratings(
        self, thresholds: tf.Tensor, values: tf.Tensor
    ) -> tf.Tensor:
        """Computes the expected ratings, of the shape of the latent ratings.

        Args:
            thresholds: `(num_classes - 1,)`, ascending, of mean 0.
            values: `(num_classes,)`, the ratings of the scale.
        """
        mean = self._sum / self._num_samples
        variance = tf.maximum(self._squares / self._num_samples - mean**2, 0.0)
        # cdf(x) = erfc(-x sqrt(1/2)) / 2
        scale = -tf.math.rsqrt(2.0 * (1.0 + variance))
        scaled_mean = mean * scale
        steps = tf.unstack(values[1:] - values[:-1])
        return values[0] + tf.add_n(
            [
                0.5 * step * tf.math.erfc(scaled_mean - threshold * scale)
                for step, threshold in zip(
                    steps, tf.unstack(thresholds), strict=True
                )
            ]
        )


def _count_ratings(ratings: tf.SparseTensor) -> tf.Tensor:
    """Counts the ratings of each user, `(batch_size, 1)`, float32."""
    return tf.math.bincount(
        tf.cast(ratings.indices[:, 0], tf.int32),
        minlength=tf.cast(ratings.dense_shape[0], tf.int32),
        dtype=tf.float32,
    )[:, tf.newaxis]


def _with_ones(factors: tf.Tensor) -> tf.Tensor:
    """Puts the factor of the user's bias in the place of the item's offset."""
    return tf.concat([tf.ones_like(factors[..., :1]), factors[..., 1:]], -1)


def _flatten(samples: tf.Tensor) -> tf.Tensor:
    """Reshapes `(rows, num_samples, size)` to `(rows, num_samples * size)`."""
    return tf.reshape(
        samples, [tf.shape(samples)[0], samples.shape[1] * samples.shape[2]]
    )


def _normal_cdf(x: tf.Tensor) -> tf.Tensor:
    return 0.5 * tf.math.erfc(x * -math.sqrt(0.5))


def _truncated_mean(low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
    """Computes the mean of a standard normal variable between two bounds."""

    def density(x: tf.Tensor) -> tf.Tensor:
        return tf.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)

    # In the left half, where small probabilities keep their digits.
    sign = tf.where(low + high > 0, -1.0, 1.0)
    left = tf.minimum(sign * low, sign * high)
    right = tf.maximum(sign * low, sign * high)
    mass = tf.maximum(_normal_cdf(right) - _normal_cdf(left), 1e-30)
    # Where the mass vanishes, the mean is at the nearer bound.
    mean = sign * (density(left) - density(right)) / mass
    return tf.clip_by_value(mean, low, high)
