"""Confidence intervals of metrics and of their differences."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.evaluation.outcomes import Outcomes
from trainer.evaluation.ranking import RANKING_METRICS, find_hits

_NUM_RESAMPLES = 1000

#: Percentiles between which 95 % of the resampled figures lie.
_PERCENTILES = (2.5, 97.5)

_METRIC = "ndcg@10"


class PairedBootstrap:
    """Resamples users to tell differences between models from chance.

    All models are measured on the same resampled users, so their differences
    vary much less than the figures themselves. In each resample a user counts
    as often as a Poisson draw of mean 1 says, which is what drawing users with
    replacement comes to for many users; so one pass suffices, and no user is
    kept. Models may also be measured in several passes, each over the same
    batches: equal seeds draw the same users.

    Reference:
        Chamandy, Muralidharan, Najmi and Naidu, 2012, "Estimating uncertainty
        for massive data streams" (https://research.google/pubs/pub43157/).

    Args:
        num_items: size of the catalog.
        liked_from: the lowest rating of an item that is liked.
        seed: seed of the draws.
    """

    def __init__(
        self, num_items: int, liked_from: float, seed: int = 0
    ) -> None:
        self._num_items = num_items
        self._liked_from = liked_from
        self._rng = np.random.default_rng(seed)
        self._num_ratings = np.zeros(_NUM_RESAMPLES + 1)
        self._num_ranked_for = np.zeros(_NUM_RESAMPLES + 1)
        self._squares: dict[str, npt.NDArray[np.float64]] = {}
        self._gains: dict[str, npt.NDArray[np.float64]] = {}

    def update(self, outcomes: Outcomes) -> None:
        """Adds a batch of users."""
        num_users = len(outcomes.history_lengths)
        draws = self._rng.poisson(1.0, (_NUM_RESAMPLES, num_users))
        # The first "resample" is the sample itself.
        weights = np.concatenate([np.ones((1, num_users)), draws])

        def add(
            sums: dict[str, npt.NDArray[np.float64]],
            name: str,
            per_user: npt.NDArray[Any],
        ) -> None:
            sums[name] = sums.get(name, 0.0) + weights @ per_user

        self._num_ratings += weights @ np.bincount(
            outcomes.users, minlength=num_users
        )
        for name, predictions in outcomes.predictions.items():
            errors = predictions.astype(np.float64) - outcomes.ratings
            add(
                self._squares,
                name,
                np.bincount(outcomes.users, errors**2, num_users),
            )

        liked = outcomes.held_out[outcomes.ratings >= self._liked_from]
        num_liked = np.bincount(liked[:, 0], minlength=num_users)
        self._num_ranked_for += weights @ (num_liked > 0)
        for name, ranked in outcomes.ranked.items():
            hits = find_hits(ranked, liked, self._num_items)
            hits = hits._replace(num_relevant=np.maximum(num_liked, 1))
            add(self._gains, name, RANKING_METRICS[_METRIC](hits))

    def resampled(self) -> dict[str, dict[str, npt.NDArray[np.float64]]]:
        """Computes the metrics of the sample, and of each resample.

        Returns:
            For `rmse` and `liked/ndcg@10`, by the name of who predicts or
            ranks: the metric of the sample itself, followed by those of the
            resamples, `(1 + num_resamples,)`.
        """
        num_ratings = np.maximum(self._num_ratings, 1)
        num_ranked_for = np.maximum(self._num_ranked_for, 1)
        return {
            "rmse": {
                name: np.sqrt(squares / num_ratings)
                for name, squares in self._squares.items()
            },
            f"liked/{_METRIC}": {
                name: gains / num_ranked_for
                for name, gains in self._gains.items()
            },
        }

    def result(self, model: str) -> dict[str, dict[str, dict[str, float]]]:
        """Computes the 95 % intervals, and those of differences to a model.

        Args:
            model: the name of the model that the others are compared with.

        Returns:
            For `rmse` and `liked/ndcg@10`, by the name of who predicts or
            ranks: `low` and `high`; for all but the model itself also
            `difference`, the model's figure less theirs, and its
            `difference_low` and `difference_high`.
        """
        return {
            metric: find_intervals(by_name, model)
            for metric, by_name in self.resampled().items()
        }


def find_intervals(
    resampled: Mapping[str, npt.NDArray[np.float64]], model: str
) -> dict[str, dict[str, float]]:
    """Finds the intervals of one metric, as `PairedBootstrap.result` does.

    Args:
        resampled: the metric of the sample and of its resamples, by the names
            of the models, as `PairedBootstrap.resampled` returns them.
        model: the name of the model that the others are compared with.
    """
    return {
        name: _interval(values, own=resampled[model] - values)
        if name != model
        else _interval(values)
        for name, values in resampled.items()
    }


def _interval(
    values: npt.NDArray[np.float64],
    own: npt.NDArray[np.float64] | None = None,
) -> dict[str, float]:
    low, high = np.percentile(values[1:], _PERCENTILES)
    interval = {"low": float(low), "high": float(high)}
    if own is None:
        return interval
    low, high = np.percentile(own[1:], _PERCENTILES)
    return {
        **interval,
        "difference": float(own[0]),
        "difference_low": float(low),
        "difference_high": float(high),
    }
