"""Bayesian matrix factorization by Gibbs sampling, from prepared ratings."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from absl import logging

from trainer.teachers import gibbs_kernels
from trainer.teachers.training_ratings import TrainingRatings

Floats = npt.NDArray[np.floating[Any]]

#: A scale of at most so many distinct ratings is ordinal.
MAX_CLASSES = 16

#: Blocks of users that are worked on in parallel.
_NUM_BLOCKS = 16

#: Groups of factors, each with a prior of its own for each dimension.
_USER, _IMPLICIT_USER, _ITEM, _IMPLICIT_ITEM = range(4)


@dataclasses.dataclass(frozen=True)
class GibbsConfig:
    rank: int = 32
    num_sweeps: int = 100
    num_burn_in: int = 20
    num_samples: int = 16
    damping: float = 0.0
    item_damping: float = 0.0
    ordinal: bool | None = None
    seed: int = 0


class GibbsSampler:
    def __init__(self, ratings: TrainingRatings, config: GibbsConfig) -> None:
        self.config = config
        self.ratings = ratings
        rank, seed = config.rank, config.seed
        users, items = ratings.num_users, ratings.num_items
        self.item_starts, self.users = gibbs_kernels.group_by_item(
            ratings.starts, ratings.items, items
        )
        self.user_weights = _weights(ratings.starts, config.damping)
        self.item_weights = _weights(self.item_starts, config.item_damping)
        self.blocks = np.searchsorted(
            ratings.starts,
            np.linspace(0, len(ratings.items), _NUM_BLOCKS + 1),
        ).astype(np.int64)
        self.blocks[0], self.blocks[-1] = 0, users
        self.values = np.unique(ratings.values)
        self.is_ordinal = len(self.values) <= MAX_CLASSES
        if config.ordinal is not None:
            self.is_ordinal = config.ordinal
        self.num_sweeps_done = 0
        if self.is_ordinal:
            self.targets = np.searchsorted(
                self.values, ratings.values
            ).astype(np.uint8)
            shares = np.bincount(self.targets) / len(self.targets)
            self.thresholds = np.array(
                [
                    gibbs_kernels._normal_quantile(p)
                    for p in np.cumsum(shares)[:-1]
                ]
            )
        else:
            self.mean = float(ratings.values.mean(dtype=np.float64))
            self.std = float(ratings.values.std(dtype=np.float64)) or 1.0
            self.targets = (ratings.values - np.float32(self.mean)) / np.float32(self.std)
            self.thresholds = np.zeros(0)
        self.alpha = 1.0
        rng = np.random.default_rng([seed, 0])
        shape = lambda n: (rank + 1, n)
        draw = lambda n: rng.normal(0, 0.1, shape(n)).astype(np.float32)
        self.factors = [draw(users), draw(items), draw(items), draw(users)]
        for f in self.factors:
            f[0] = 0
        self.prior_means = np.zeros((4, rank + 1))
        self.prior_precisions = np.full((4, rank + 1), 10.0)
        self.z = self._composite(_USER, self.user_weights, self.item_starts, self.users)
        self.s = self._composite(_ITEM, self.item_weights, ratings.starts, ratings.items)

    def _composite(self, group, weights, member_starts, members):
        own, implicit = self.factors[group], self.factors[group + 1]
        out = own.copy()
        feature = np.repeat(np.arange(len(member_starts) - 1), np.diff(member_starts))
        for f in range(len(own)):
            out[f] += weights * np.bincount(members, implicit[f][feature], own.shape[1]).astype(np.float32)
        return out

    def sweep(self) -> None:
        r, k = self.ratings, gibbs_kernels
        rng = np.random.default_rng([self.config.seed, 1 + self.num_sweeps_done])
        residuals = np.empty(len(r.items), np.float32)
        k.predict_all(
            r.starts, r.items,
            np.ascontiguousarray(self.z.T), np.ascontiguousarray(self.s.T),
            residuals,
        )
        if self.is_ordinal:
            for _ in range(1):
                g = k.draw_latents(
                    self.targets, self.thresholds,
                    rng.random(len(residuals), np.float32), residuals,
                )
            step = np.clip(g[:, 0] / np.maximum(g[:, 1], 1.0), -0.1, 0.1)
            self.thresholds = np.sort(self.thresholds + 0.7 * step)
        else:
            np.subtract(self.targets, residuals, out=residuals)
            sse = float(np.dot(residuals, residuals))
            self.alpha = rng.gamma((1 + len(residuals)) / 2, 2 / (1 + sse))
        n_users, n_items = r.num_users, r.num_items
        a_u, c_u = np.zeros(n_users), np.zeros(n_users)
        a_i, c_i = np.zeros(n_items), np.zeros(n_items)
        ones_u, ones_i = np.ones(n_users, np.float32), np.ones(n_items, np.float32)
        self._draw_priors(rng)
        z, ds = ones_u, np.zeros(n_items, np.float32)
        for f in range(len(self.z)):
            s = self.s[f] if f else ones_i
            k.collect_by_user(self.blocks, r.starts, r.items, residuals, z, ds, s, a_u, c_u)
            dz = self._draw(rng, f, _USER, a_u, c_u, self.user_weights, self.item_starts, self.users)
            self.z[f] += dz
            z = self.z[f] if f else ones_u
            k.collect_by_item(self.blocks, r.starts, r.items, residuals, s, dz, z, a_i, c_i)
            ds = self._draw(rng, f, _ITEM, a_i, c_i, self.item_weights, r.starts, r.items)
            self.s[f] += ds
        self.num_sweeps_done += 1

    def _draw_priors(self, rng):
        for g in range(4):
            v = self.factors[g].astype(np.float64)
            n = v.shape[1]
            m = self.prior_means[g]
            rate = (((v - m[:, None]) ** 2).sum(1) + m * m + 1) / 2
            lam = rng.gamma((n + 2) / 2, 1 / rate)
            self.prior_precisions[g] = lam
            self.prior_means[g] = v.sum(1) / (n + 1) + rng.standard_normal(len(m)) / np.sqrt((n + 1) * lam)

    def _draw(self, rng, f, group, a, c, weights, member_starts, members):
        own, implicit = self.factors[group][f], self.factors[group + 1][f]
        return gibbs_kernels.draw_factors(
            a, c, self.alpha, own,
            self.prior_means[group, f], self.prior_precisions[group, f],
            rng.standard_normal(len(own), np.float32),
            weights, member_starts, members, implicit,
            self.prior_means[group + 1, f], self.prior_precisions[group + 1, f],
            rng.standard_normal(len(implicit), np.float32),
        )


def _weights(starts, damping):
    return (1 / np.sqrt(np.maximum(np.diff(starts) + damping, 1.0))).astype(np.float32)
