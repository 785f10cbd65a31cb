"""Calibration: predicted ratings against those that were given."""

from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.evaluation.outcomes import Outcomes
from trainer.evaluation.rating_errors import ErrorSums

#: Bins of the predictions, of equal width, and the most groups of ratings.
_NUM_BINS = 20


class Calibration:
    """Compares the predictions of one model with the ratings that were given.

    A model is calibrated if those ratings that it predicts as 3.7 are 3.7 on
    average. The reverse does not hold: a good model predicts less than 5 for
    ratings of 5, and more than 1 for ratings of 1, as nobody can know them.

    Args:
        name: the name of the model among those that predict.
        values: the distinct ratings of the scale, ascending. If there are more
            than 20, ratings are grouped by the nearest of 20 at equal
            distances.
    """

    def __init__(self, name: str, values: npt.NDArray[np.float32]) -> None:
        self._name = name
        low, high = float(values[0]), float(values[-1])
        if len(values) > _NUM_BINS:
            values = np.linspace(low, high, _NUM_BINS, dtype=np.float32)
        self._values = values
        self._borders = (values[1:] + values[:-1]) / 2
        self._edges = np.linspace(low, high, _NUM_BINS + 1)
        self._by_rating = ErrorSums(len(values), (low, high))
        self._by_prediction = ErrorSums(_NUM_BINS, (low, high))
        self._counts = np.zeros((_NUM_BINS, len(values)), np.int64)

    def update(self, outcomes: Outcomes) -> None:
        """Adds a batch of users."""
        predictions = outcomes.predictions[self._name]
        # Predictions beyond the scale belong to the outermost bins.
        bins = np.searchsorted(self._edges[1:-1], predictions, side="right")
        groups = np.searchsorted(self._borders, outcomes.ratings)
        self._by_rating.add(groups, predictions, outcomes.ratings)
        self._by_prediction.add(bins, predictions, outcomes.ratings)
        np.add.at(self._counts, (bins, groups), 1)

    def result(self) -> dict[str, Any]:
        """Computes the calibration over all ratings so far.

        Returns:
            `by_rating` and `by_prediction`: lists of what `ErrorSums`
            computes, of ratings that are alike or predicted alike, without
            empty groups; the former with the `rating`. `counts[bin][rating]`:
            how often a rating was predicted in a bin, with the `edges` of the
            bins and the `ratings`.
        """
        return {
            "by_rating": [
                {"rating": float(value), **row}
                for value, row in zip(
                    self._values, self._by_rating.results(), strict=True
                )
                if row["num_ratings"]
            ],
            "by_prediction": [
                row
                for row in self._by_prediction.results()
                if row["num_ratings"]
            ],
            "edges": self._edges.tolist(),
            "ratings": self._values.tolist(),
            "counts": self._counts.tolist(),
        }
