"""Gibbs sampler of a Bayesian matrix factorization with implicit features."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.teachers import gibbs_kernels
from trainer.teachers.blocks import (
    NUM_BLOCKS,
    run_each_block,
    run_in_blocks,
)
from trainer.teachers.likelihoods import choose_likelihood
from trainer.teachers.training_ratings import TrainingRatings

Floats = npt.NDArray[np.float32]

#: Standard deviation of the factors that a chain starts from.
_START = 0.1


@dataclasses.dataclass(eq=False)
class _Side:
    """The users or the items, with the features that are the other side.

    A row's factors are its own factors plus its weight times the sum of the
    implicit factors of its features.

    Args:
        weights: of the implicit factors in each row, float32 `(num_rows,)`.
        starts: starts of each feature's rows, int64 `(num_features + 1,)`.
        rows: the rows of each feature, int32 `(num_ratings,)`.
        own: float32 `(1 + rank, num_rows)`, the bias first.
        implicit: float32 `(1 + rank, num_features)`.
        factors: own and implicit together, float32 `(1 + rank, num_rows)`.
        prior: mean and precision of each dimension's own factors, then of its
            implicit ones, float64 `(2, 2, 1 + rank)`.
    """

    weights: Floats
    starts: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int32]
    own: Floats
    implicit: Floats
    factors: Floats
    prior: npt.NDArray[np.float64]

    def draw_prior(self, rng: np.random.Generator) -> None:
        """Draws means and precisions given the factors."""
        for group, factors in enumerate((self.own, self.implicit)):
            old_mean = self.prior[group, 0]
            size = factors.shape[1]
            squares = old_mean**2 + np.sum(
                (factors - old_mean[:, np.newaxis]) ** 2, axis=1
            )
            precision = rng.gamma((size + 2) / 2, 2 / (1 + squares))
            mean = factors.sum(axis=1, dtype=np.float64) / (size + 1)
            mean += rng.standard_normal(len(mean)) / np.sqrt(
                (size + 1) * precision
            )
            self.prior[group] = mean, precision

    def draw(
        self,
        dimension: int,
        sums: npt.NDArray[np.float64],
        noise_precision: float,
        rng: np.random.Generator,
    ) -> Floats:
        """Draws a dimension; returns the changes of the factors."""
        own, implicit = self.own[dimension], self.implicit[dimension]
        (own_mean, own_precision), (implicit_mean, implicit_precision) = (
            self.prior[:, :, dimension]
        )
        changes = gibbs_kernels.draw_own(
            sums,
            noise_precision,
            own_mean,
            own_precision,
            rng.standard_normal(len(own), np.float32),
            own,
        )
        changes += gibbs_kernels.draw_implicit(
            sums,
            noise_precision,
            implicit_mean,
            implicit_precision,
            rng.standard_normal(len(implicit), np.float32),
            self.weights,
            self.starts,
            self.rows,
            implicit,
        )
        self.factors[dimension] += changes
        return changes


class GibbsSampler:
    """Draws factors, priors and noise from their posterior.

    The latent rating of item `i` by user `u` is

        user_bias[u] + item_bias[i] + user_factors[u] @ item_factors[i] + noise

    where biases and factors of a user are their own plus the sum of implicit
    ones over the items that they rated, over the root of their number, and
    those of an item likewise over the users who rated it. Own and implicit
    numbers have a Gaussian prior for each dimension, whose mean and precision
    are drawn too, under Normal(0, 1 / precision) and Gamma(1/2, 1/2).

    References:
        Rendle, 2013, "Scaling factorization machines to relational data"
        (https://doi.org/10.14778/2535573.2488340): the sampler, dimension by
        dimension, with residuals kept.
        Rendle, Zhang and Koren, 2019, "On the difficulty of evaluating
        baselines" (https://arxiv.org/abs/1905.01395): implicit features of
        both sides, and the ordinal model.

    Args:
        ratings: the ratings.
        rank: number of factors beside the bias.
        damping: ratings that are added to each user's number of ratings
            before its root is taken, so that implicit factors, which are
            learned from long histories, say less about short ones.
        seed: a sweep depends on it, on the sweep's number and on the state
            before it, and on nothing else.
    """

    def __init__(
        self, ratings: TrainingRatings, rank: int, damping: float, seed: int
    ) -> None:
        self._ratings = ratings
        self._seed = seed
        self.num_sweeps = 0
        self.likelihood = choose_likelihood(ratings.values)
        item_starts, users = gibbs_kernels.group_by_item(
            ratings.starts, ratings.items, ratings.num_items
        )
        rng = np.random.default_rng([seed, 0])
        by_user = (ratings.starts, ratings.items)
        by_item = (item_starts, users)
        self.users = _start_side(by_user, by_item, rank, damping, rng)
        self.items = _start_side(by_item, by_user, rank, 0.0, rng)

    def sweep(self) -> None:
        """Draws everything once."""
        self.num_sweeps += 1
        rng = np.random.default_rng([self._seed, self.num_sweeps])
        num_users, num_items = self._ratings.num_users, self._ratings.num_items
        by_user = (self._ratings.starts, self._ratings.items)
        # From scratch, so that rounding errors do not add up.
        residuals = np.empty(len(self._ratings.items), np.float32)
        run_in_blocks(
            gibbs_kernels.predict,
            num_users,
            *by_user,
            np.ascontiguousarray(self.users.factors.T),
            np.ascontiguousarray(self.items.factors.T),
            residuals,
        )
        self.likelihood.draw_residuals(residuals, rng)
        noise_precision = self.likelihood.noise_precision
        self.users.draw_prior(rng)
        self.items.draw_prior(rng)
        user_sums = np.empty((num_users, 2))
        item_sums = np.empty((NUM_BLOCKS, num_items, 2))
        # The other side's factor of a bias is 1.
        item_factors = np.ones(num_items, np.float32)
        user_factors = np.ones(num_users, np.float32)
        item_changes = np.zeros(num_items, np.float32)
        for dimension in range(len(self.users.factors)):
            if dimension > 0:
                item_factors = self.items.factors[dimension].copy()
            run_in_blocks(
                gibbs_kernels.sum_by_user,
                num_users,
                *by_user,
                residuals,
                user_factors,
                item_changes,
                item_factors,
                user_sums,
            )
            user_changes = self.users.draw(
                dimension, user_sums, noise_precision, rng
            )
            if dimension > 0:
                user_factors = self.users.factors[dimension]
            run_each_block(
                gibbs_kernels.sum_by_item,
                num_users,
                [
                    (
                        *by_user,
                        residuals,
                        item_factors,
                        user_changes,
                        user_factors,
                        sums,
                    )
                    for sums in item_sums
                ],
            )
            item_changes = self.items.draw(
                dimension, item_sums.sum(axis=0), noise_precision, rng
            )

    @property
    def state(self) -> dict[str, npt.NDArray[Any]]:
        """What the next sweep depends on, by name."""
        state = {"num_sweeps": np.array(self.num_sweeps)}
        for name, side in (("users", self.users), ("items", self.items)):
            for field in ("own", "implicit", "factors", "prior"):
                state[f"{name}/{field}"] = getattr(side, field)
        for name, value in self.likelihood.state.items():
            state[f"likelihood/{name}"] = value
        return state

    @state.setter
    def state(self, state: dict[str, npt.NDArray[Any]]) -> None:
        self.num_sweeps = int(state["num_sweeps"])
        for name, side in (("users", self.users), ("items", self.items)):
            for field in ("own", "implicit", "factors", "prior"):
                setattr(side, field, state[f"{name}/{field}"])
        self.likelihood.state = {
            name: state[f"likelihood/{name}"] for name in self.likelihood.state
        }


def _start_side(
    features_by_row: tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]],
    rows_by_feature: tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]],
    rank: int,
    damping: float,
    rng: np.random.Generator,
) -> _Side:
    num_rows = len(features_by_row[0]) - 1
    num_features = len(rows_by_feature[0]) - 1
    counts = np.diff(features_by_row[0]) + damping
    weights = (1 / np.sqrt(np.maximum(counts, 1))).astype(np.float32)

    def draw(size: int) -> Floats:
        factors = rng.standard_normal((1 + rank, size), np.float32) * _START
        factors[0] = 0
        return factors.astype(np.float32)

    own, implicit = draw(num_rows), draw(num_features)
    factors = own.copy()
    for dimension in range(1 + rank):
        factors[dimension] += weights * gibbs_kernels.sum_members(
            *features_by_row, implicit[dimension]
        )
    prior = np.zeros((2, 2, 1 + rank))
    prior[:, 1] = 1 / _START**2
    return _Side(weights, *rows_by_feature, own, implicit, factors, prior)
