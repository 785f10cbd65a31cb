"""How ratings come about from latent ratings: as they are, or in classes."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.teachers import gibbs_kernels
from trainer.teachers.blocks import run_in_blocks

#: A scale of more distinct ratings counts as continuous.
MAX_CLASSES = 16

#: Ratings that the thresholds are estimated from, at the most.
_THRESHOLD_RATINGS = 1_000_000

#: Precision of the thresholds' prior, a Gaussian of mean 0.
_THRESHOLD_PRECISION = 0.01


class GaussianLikelihood:
    """Takes a rating for its latent rating plus noise.

    Latent ratings are standardized: whatever scale the ratings are on, their
    mean is 0 and their standard deviation 1. The noise's precision has the
    prior Gamma(1/2, 1/2).

    Args:
        ratings: float32 `(num_ratings,)`.
    """

    def __init__(self, ratings: npt.NDArray[np.float32]) -> None:
        self.mean = float(ratings.mean(dtype=np.float64))
        self.scale = float(ratings.std(dtype=np.float64)) or 1.0
        self._targets = ((ratings - self.mean) / self.scale).astype(np.float32)
        self.noise_precision = 1.0

    def draw_residuals(
        self,
        predictions: npt.NDArray[np.float32],
        rng: np.random.Generator,
    ) -> None:
        """Draws the noise's precision; replaces predictions by residuals.

        Args:
            predictions: of the latent ratings, float32 `(num_ratings,)`.
            rng: source of random numbers.
        """
        np.subtract(self._targets, predictions, out=predictions)
        squares = float(np.dot(predictions, predictions))
        self.noise_precision = rng.gamma(
            (1 + len(predictions)) / 2, 2 / (1 + squares)
        )

    @property
    def state(self) -> dict[str, npt.NDArray[np.float64]]:
        """What the next draw depends on, by name."""
        return {"noise_precision": np.array(self.noise_precision)}

    @state.setter
    def state(self, state: dict[str, npt.NDArray[Any]]) -> None:
        self.noise_precision = float(state["noise_precision"])


class OrdinalLikelihood:
    """Takes a rating for the number of thresholds below its latent rating.

    An ordered probit model: latent ratings have noise of precision 1. The
    thresholds are drawn from the Gaussian whose mode and curvature are those
    of their posterior given the factors, the latent ratings integrated out.

    Reference:
        Albert and Chib, 1993, "Bayesian analysis of binary and polychotomous
        response data" (https://doi.org/10.1080/01621459.1993.10476321).

    Args:
        ratings: float32 `(num_ratings,)`.
        values: the distinct ratings, ascending.
    """

    def __init__(
        self,
        ratings: npt.NDArray[np.float32],
        values: npt.NDArray[np.float32],
    ) -> None:
        self.values = values
        self.noise_precision = 1.0
        self._classes = np.searchsorted(values, ratings).astype(np.uint8)
        shares = np.bincount(self._classes) / len(self._classes)
        self.thresholds = np.array(
            [
                gibbs_kernels.normal_quantile(share)
                for share in np.cumsum(shares)[:-1]
            ]
        )

    def draw_residuals(
        self,
        predictions: npt.NDArray[np.float32],
        rng: np.random.Generator,
    ) -> None:
        """Draws thresholds and latent ratings; leaves the residuals.

        Args:
            predictions: of the latent ratings, float32 `(num_ratings,)`;
                replaced by what the latent ratings are above them.
            rng: source of random numbers.
        """
        step = math.ceil(len(predictions) / _THRESHOLD_RATINGS)
        gradient, hessian = gibbs_kernels.differentiate_thresholds(
            self._classes, self._bounds(), predictions, step
        )
        size = len(self.thresholds)
        precision = hessian[1:-1, 1:-1] + _THRESHOLD_PRECISION * np.eye(size)
        slope = gradient[1:-1] - _THRESHOLD_PRECISION * self.thresholds
        cholesky = np.linalg.cholesky(precision)
        change = np.linalg.solve(precision, slope) + np.linalg.solve(
            cholesky.T, rng.standard_normal(size)
        )
        # The likelihood is far from its curvature's parabola at the start,
        # and where a class has few ratings.
        self.thresholds = np.sort(self.thresholds + np.clip(change, -0.5, 0.5))
        run_in_blocks(
            gibbs_kernels.draw_latent_residuals,
            len(predictions),
            self._classes,
            self._bounds(),
            predictions,
            rng.random(len(predictions), np.float32),
        )

    @property
    def state(self) -> dict[str, npt.NDArray[np.float64]]:
        """What the next draw depends on, by name."""
        return {"thresholds": self.thresholds}

    @state.setter
    def state(self, state: dict[str, npt.NDArray[Any]]) -> None:
        self.thresholds = state["thresholds"]

    def _bounds(self) -> npt.NDArray[np.float64]:
        return np.concatenate([[-np.inf], self.thresholds, [np.inf]])


Likelihood = GaussianLikelihood | OrdinalLikelihood


def choose_likelihood(ratings: npt.NDArray[np.float32]) -> Likelihood:
    """Chooses the ordinal likelihood for at most `MAX_CLASSES` values."""
    values = np.unique(ratings)
    if len(values) <= MAX_CLASSES:
        return OrdinalLikelihood(ratings, values)
    return GaussianLikelihood(ratings)
