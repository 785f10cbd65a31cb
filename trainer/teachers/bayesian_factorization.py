"""Fits a Bayesian matrix factorization and keeps samples of its posterior."""

import dataclasses
import io
import time
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from absl import logging

from data_prep.dataset.errors import UserError
from data_prep.dataset.files import writing
from trainer.teachers.gibbs_sampler import GibbsSampler
from trainer.teachers.likelihoods import OrdinalLikelihood
from trainer.teachers.training_ratings import TrainingRatings

Floats = npt.NDArray[np.float32]

#: Sweeps between two checkpoints.
_SWEEPS_PER_CHECKPOINT = 10

#: Seconds between two lines of the log.
_SECONDS_BETWEEN_LINES = 10.0


@dataclasses.dataclass(frozen=True)
class FactorizationConfig:
    """Settings of the sampler.

    Args:
        rank: number of factors beside the bias.
        num_sweeps: sweeps of the chain.
        num_burn_in: sweeps at its start that no sample is kept of.
        num_samples: samples to keep, evenly spaced over the other sweeps.
        damping: see `GibbsSampler`.
        seed: seed of the chain.
    """

    rank: int = 32
    num_sweeps: int = 100
    num_burn_in: int = 20
    num_samples: int = 16
    damping: float = 100.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise UserError(
                f"`rank` must be at least 1. Received: rank={self.rank}"
            )
        if not 0 < self.num_samples <= self.num_sweeps - self.num_burn_in:
            raise UserError(
                "`num_samples` must be at least 1 and at most the"
                f" {self.num_sweeps - self.num_burn_in} sweeps after burn-in."
                f" Received: num_samples={self.num_samples}"
            )
        if not self.damping >= 0:
            raise UserError(
                "`damping` must be a number of ratings, at least 0. Received:"
                f" damping={self.damping}"
            )

    def kept_sweeps(self) -> list[int]:
        """Lists the sweeps that a sample is kept of, counted from 1."""
        steps = np.arange(1, self.num_samples + 1) / self.num_samples
        spread = (self.num_sweeps - self.num_burn_in) * steps
        return [self.num_burn_in + round(float(sweep)) for sweep in spread]


@dataclasses.dataclass(frozen=True, eq=False)
class Posterior:
    """Samples of a factorization: what folding users in takes.

    Args:
        item_factors: `(num_samples, num_items, 1 + rank)`, the bias first.
        implicit: implicit factors of the items in users, of the same shape.
        prior_mean: of the users' own factors, `(num_samples, 1 + rank)`.
        prior_precision: of the users' own factors, of the same shape.
        noise_precision: `(num_samples,)`.
        thresholds: `(num_samples, num_classes - 1)` on an ordinal scale, else
            `(num_samples, 0)`.
        values: on an ordinal scale its ratings, `(num_classes,)`, else mean
            and standard deviation of the ratings.
        is_ordinal: whether the scale is ordinal.
        damping: see `GibbsSampler`.
    """

    item_factors: Floats
    implicit: Floats
    prior_mean: Floats
    prior_precision: Floats
    noise_precision: Floats
    thresholds: Floats
    values: Floats
    is_ordinal: bool
    damping: float


def fit(
    ratings: TrainingRatings,
    config: FactorizationConfig,
    checkpoint: str | None = None,
) -> Posterior:
    """Samples the posterior of a factorization of the ratings.

    Takes some 21 bytes per rating, and 12 per user and dimension.

    Args:
        ratings: the training ratings.
        config: the settings.
        checkpoint: path of a file, local or remote, that keeps the state. If
            it exists, the chain goes on from it, to the same result as a
            chain that was never stopped.

    Returns:
        The samples.

    Raises:
        UserError: when the checkpoint is of other ratings or settings, or
            cannot be written.
    """
    sampler = GibbsSampler(ratings, config.rank, config.damping, config.seed)
    samples: list[dict[str, Floats]] = []
    if checkpoint is not None and tf.io.gfile.exists(checkpoint):
        samples = _restore(sampler, ratings, config, checkpoint)
    kept_sweeps = set(config.kept_sweeps())
    first_sweep = sampler.num_sweeps
    start = last_line = time.monotonic()
    while sampler.num_sweeps < config.num_sweeps:
        sampler.sweep()
        if sampler.num_sweeps in kept_sweeps:
            samples.append(_take_sample(sampler))
        is_last = sampler.num_sweeps == config.num_sweeps
        if checkpoint is not None and (
            is_last or sampler.num_sweeps % _SWEEPS_PER_CHECKPOINT == 0
        ):
            _save(sampler, samples, ratings, config, checkpoint)
        now = time.monotonic()
        if is_last or now - last_line >= _SECONDS_BETWEEN_LINES:
            last_line = now
            rate = (now - start) / (sampler.num_sweeps - first_sweep)
            logging.info(
                "Bayesian factorization: sweep %d/%d, %.2f s per sweep, about"
                " %.0f s left",
                sampler.num_sweeps,
                config.num_sweeps,
                rate,
                rate * (config.num_sweeps - sampler.num_sweeps),
            )
    stacked = {
        name: np.stack([sample[name] for sample in samples])
        for name in samples[0]
    }
    likelihood = sampler.likelihood
    is_ordinal = isinstance(likelihood, OrdinalLikelihood)
    return Posterior(
        **stacked,
        values=(
            likelihood.values
            if isinstance(likelihood, OrdinalLikelihood)
            else np.array([likelihood.mean, likelihood.scale], np.float32)
        ),
        is_ordinal=is_ordinal,
        damping=config.damping,
    )


def _take_sample(sampler: GibbsSampler) -> dict[str, Floats]:
    likelihood = sampler.likelihood
    sample: dict[str, Any] = {
        "item_factors": sampler.items.factors.T,
        "implicit": sampler.users.implicit.T,
        "prior_mean": sampler.users.prior[0, 0],
        "prior_precision": sampler.users.prior[0, 1],
        "noise_precision": likelihood.noise_precision,
        "thresholds": (
            likelihood.thresholds
            if isinstance(likelihood, OrdinalLikelihood)
            else []
        ),
    }
    return {
        name: np.array(value, np.float32, order="C")
        for name, value in sample.items()
    }


def _save(
    sampler: GibbsSampler,
    samples: list[dict[str, Floats]],
    ratings: TrainingRatings,
    config: FactorizationConfig,
    path: str,
) -> None:
    arrays = {f"state/{name}": value for name, value in sampler.state.items()}
    for number, sample in enumerate(samples):
        for name, value in sample.items():
            arrays[f"samples/{number}/{name}"] = value
    arrays["fingerprint"] = np.array(_fingerprint(ratings, config))
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    with writing(
        f"the checkpoint {path}",
        "Make room and start again: the chain goes on from the checkpoint"
        " before.",
    ):
        with tf.io.gfile.GFile(path + ".tmp", "wb") as file:
            file.write(buffer.getvalue())
        tf.io.gfile.rename(path + ".tmp", path, overwrite=True)


def _restore(
    sampler: GibbsSampler,
    ratings: TrainingRatings,
    config: FactorizationConfig,
    path: str,
) -> list[dict[str, Floats]]:
    with tf.io.gfile.GFile(path, "rb") as file:
        arrays = dict(np.load(io.BytesIO(file.read())))
    if str(arrays.pop("fingerprint")) != _fingerprint(ratings, config):
        raise UserError(
            f"{path} is the checkpoint of other ratings or settings than"
            f" {config}. Remove it to start anew, or give another path."
        )
    sampler.state = {
        name.removeprefix("state/"): value
        for name, value in arrays.items()
        if name.startswith("state/")
    }
    logging.info(
        "Bayesian factorization: goes on after sweep %d of %s",
        sampler.num_sweeps,
        path,
    )
    num_samples = sum(s <= sampler.num_sweeps for s in config.kept_sweeps())
    return [
        {
            name.removeprefix(f"samples/{number}/"): value
            for name, value in arrays.items()
            if name.startswith(f"samples/{number}/")
        }
        for number in range(num_samples)
    ]


def _fingerprint(ratings: TrainingRatings, config: FactorizationConfig) -> str:
    checksum = zlib.crc32(ratings.items.data)
    checksum = zlib.crc32(ratings.values.data, checksum)
    checksum = zlib.crc32(ratings.starts.data, checksum)
    return f"{config} {ratings.num_items} {checksum:08x}"
