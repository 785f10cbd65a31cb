"""Standard deviations of predictions, against the errors that were made."""

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.evaluation.outcomes import Outcomes

#: Shares of the ratings that intervals around predictions are to hold.
LEVELS = (0.5, 0.8, 0.9, 0.95)

#: Half the width of these intervals, in standard deviations.
_FACTORS = [NormalDist().inv_cdf((1 + level) / 2) for level in LEVELS]

_NUM_TENTHS = 10

#: Bins of the deviations, of equal width over the width of the scale, which
#: are joined to tenths.
_NUM_BINS = 2000


class Deviations:
    """Measures whether deviations tell how far predictions are to be trusted.

    Every rating weighs the same, whoever gave it. The interval of a level is
    the prediction plus and minus so many deviations as hold that share of a
    normal distribution, not clipped to the scale. Sums are kept by size of
    the deviation, so memory does not grow with the ratings.

    Args:
        rating_range: lowest and highest rating of the scale.
    """

    def __init__(self, rating_range: tuple[float, float]) -> None:
        self._width = max(rating_range[1] - rating_range[0], 1e-6)
        self._sums: dict[str, npt.NDArray[np.float64]] = {}

    def update(self, outcomes: Outcomes) -> None:
        """Adds a batch of users."""
        for name, deviations in outcomes.deviations.items():
            sums = self._sum(
                # In float64, so that millions of squares add up.
                deviations.astype(np.float64),
                outcomes.predictions[name].astype(np.float64)
                - outcomes.ratings,
            )
            self._sums[name] = self._sums.get(name, 0.0) + sums

    def _sum(
        self, deviations: npt.NDArray[np.float64], errors: npt.NDArray[Any]
    ) -> npt.NDArray[np.float64]:
        """Sums up ratings by bin: a row per sum, a column per bin."""
        distances = np.abs(errors)
        rows = [
            np.ones(len(distances)),
            deviations,
            deviations**2,
            distances,
            distances**2,
            deviations * distances,
            np.log(deviations) + (distances / deviations) ** 2 / 2,
            *(
                (distances <= factor * deviations).astype(np.float64)
                for factor in _FACTORS
            ),
        ]
        bins = np.minimum(
            deviations / self._width * _NUM_BINS, _NUM_BINS - 1
        ).astype(np.int64)
        return np.stack([np.bincount(bins, row, _NUM_BINS) for row in rows])

    def result(self) -> dict[str, dict[str, Any]]:
        """Computes the figures, by the name of who knows deviations.

        Returns:
            `coverage`, the share of the ratings that lie in the intervals, by
            level; `mean_deviation`; `nll`, the mean negative logarithm of a
            rating's density under normal distributions; `correlation` of
            deviation and distance between prediction and rating;
            `num_ratings`; `by_deviation`, for each tenth of the ratings, those
            with the smallest deviations first, `mean_deviation` and `rmse`,
            both roots of mean squares, and `num_ratings`. Ratings of nearly
            the same deviation stay together, so tenths may be missing.
        """
        return {name: _summarize(sums) for name, sums in self._sums.items()}


def _summarize(sums: npt.NDArray[np.float64]) -> dict[str, Any]:
    totals = sums.sum(axis=1)
    num_ratings = totals[0]
    means = totals / max(num_ratings, 1)
    _, deviation, square, distance, squared_error, product, nll, *covered = (
        means.tolist()
    )
    variances = (square - deviation**2) * (squared_error - distance**2)
    covariance = product - deviation * distance
    return {
        "coverage": {
            str(level): share
            for level, share in zip(LEVELS, covered, strict=True)
        },
        "mean_deviation": deviation,
        "nll": nll + math.log(2 * math.pi) / 2,
        # Equal deviations tell ratings apart no better than chance.
        "correlation": (
            covariance / math.sqrt(variances) if variances > 1e-12 else 0.0
        ),
        "num_ratings": int(num_ratings),
        "by_deviation": _by_tenth(sums),
    }


def _by_tenth(sums: npt.NDArray[np.float64]) -> list[dict[str, float]]:
    counts = sums[0]
    middles = np.cumsum(counts) - counts / 2
    tenths = np.minimum(
        middles * _NUM_TENTHS / max(counts.sum(), 1), _NUM_TENTHS - 1
    ).astype(np.int64)
    num_ratings, squares, squared_errors = (
        np.bincount(tenths, row, _NUM_TENTHS) for row in sums[[0, 2, 4]]
    )
    return [
        {
            "mean_deviation": math.sqrt(squares[tenth] / num_ratings[tenth]),
            "rmse": math.sqrt(squared_errors[tenth] / num_ratings[tenth]),
            "num_ratings": int(num_ratings[tenth]),
        }
        for tenth in np.flatnonzero(num_ratings)
    ]
