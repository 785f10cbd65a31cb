"""Errors of predicted ratings, over all of them and by groups."""

import numpy as np
import numpy.typing as npt

from trainer.evaluation.outcomes import Outcomes


class ErrorSums:
    """Sums of errors, one per group of ratings.

    Every rating weighs the same, whoever gave it. The clipped errors are those
    of predictions that are clipped to the rating scale.

    Args:
        num_groups: number of groups.
        rating_range: lowest and highest rating of the scale.
    """

    #: What is summed, in the order of the rows.
    _SUMS = (
        "num_ratings",
        "squares",
        "distances",
        "clipped_squares",
        "clipped_distances",
        "predictions",
        "ratings",
    )

    def __init__(
        self, num_groups: int, rating_range: tuple[float, float]
    ) -> None:
        self._rating_range = rating_range
        self._sums = np.zeros((len(self._SUMS), num_groups))

    def add(
        self,
        groups: npt.NDArray[np.int64],
        predictions: npt.NDArray[np.float32],
        ratings: npt.NDArray[np.float32],
    ) -> None:
        """Adds ratings.

        Args:
            groups: the group of each rating, `(num_ratings,)`.
            predictions: `(num_ratings,)`.
            ratings: `(num_ratings,)`.
        """
        # In float64, so that millions of squares add up.
        predicted = predictions.astype(np.float64)
        errors = predicted - ratings
        clipped = np.clip(predicted, *self._rating_range) - ratings
        self._add_rows(
            groups,
            np.stack(
                [
                    np.ones(len(ratings)),
                    errors**2,
                    np.abs(errors),
                    clipped**2,
                    np.abs(clipped),
                    predicted,
                    ratings,
                ]
            ),
        )

    def _add_rows(
        self, groups: npt.NDArray[np.int64], rows: npt.NDArray[np.float64]
    ) -> None:
        """Adds one row of addends per sum, each addend to its group."""
        num_groups = self._sums.shape[1]
        self._sums += [np.bincount(groups, row, num_groups) for row in rows]

    @property
    def num_ratings(self) -> npt.NDArray[np.int64]:
        """Number of ratings of each group, `(num_groups,)`."""
        return self._sums[0].astype(np.int64)

    def regroup(
        self, groups: npt.NDArray[np.int64], num_groups: int
    ) -> "ErrorSums":
        """Adds groups up to larger ones.

        Args:
            groups: the larger group of each group, `(num_groups,)`.
            num_groups: number of the larger groups.
        """
        larger = ErrorSums(num_groups, self._rating_range)
        larger._add_rows(groups, self._sums)
        return larger

    def results(self) -> list[dict[str, float]]:
        """Computes the errors of each group.

        Returns:
            For each group `rmse`, `mae`, `clipped_rmse`, `clipped_mae`,
            `mean_prediction` and `mean_rating`, on the scale of the ratings,
            and `num_ratings`. A group without ratings has errors of 0.
        """
        means = self._sums / np.maximum(self._sums[0], 1)
        of = dict(zip(self._SUMS, means, strict=True))
        figures = {
            "rmse": np.sqrt(of["squares"]),
            "mae": of["distances"],
            "clipped_rmse": np.sqrt(of["clipped_squares"]),
            "clipped_mae": of["clipped_distances"],
            "mean_prediction": of["predictions"],
            "mean_rating": of["ratings"],
        }
        return [
            {
                **{name: float(row[group]) for name, row in figures.items()},
                "num_ratings": int(count),
            }
            for group, count in enumerate(self._sums[0])
        ]


class Errors:
    """Measures the errors over all held-out ratings, of all models.

    Reference:
        Kuchaiev and Ginsburg, 2017, section 3: every held-out rating weighs
        the same (https://arxiv.org/abs/1708.01715).

    Args:
        rating_range: lowest and highest rating of the scale.
    """

    def __init__(self, rating_range: tuple[float, float]) -> None:
        self._rating_range = rating_range
        self._sums: dict[str, ErrorSums] = {}

    def update(self, outcomes: Outcomes) -> None:
        """Adds a batch of users."""
        groups = np.zeros(len(outcomes.ratings), np.int64)
        for name, predictions in outcomes.predictions.items():
            self._sums.setdefault(name, ErrorSums(1, self._rating_range)).add(
                groups, predictions, outcomes.ratings
            )

    def result(self) -> dict[str, dict[str, float]]:
        """Computes what `ErrorSums` does, by the name of who predicts."""
        return {name: sums.results()[0] for name, sums in self._sums.items()}
