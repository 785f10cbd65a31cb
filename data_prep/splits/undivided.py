"""No split: for users who get answers, not for training."""

import dataclasses

import numpy as np

from data_prep.ratings import Ratings
from data_prep.splits.base import TRAIN, Outcomes, Split


@dataclasses.dataclass(frozen=True)
class Undivided(Split):
    """Holds nothing out.

    `make_split` does not offer it: without held-out ratings nobody can tell
    what a model is worth.
    """

    name = "undivided"
    needs_timestamps = False
    filled_subsets = ("train",)
    advice = "the ratings"

    def assign(
        self, ratings: Ratings, seed: int, cuts: dict[str, float]
    ) -> Outcomes:
        return np.full(len(ratings), TRAIN, np.int8)
