"""Chooses the settings of a model on validation ratings."""

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

from trainer.compare.answers import MODEL, Answer, measure
from trainer.compare.fit_data import FitData
from trainer.compare.models import RMSE, Model, Settings
from trainer.evaluation.ranking import Rankings
from trainer.evaluation.rating_errors import Errors

#: Share of the best metric by which a candidate may be behind at the same
#: number of epochs.
_MARGIN = 0.02


@dataclasses.dataclass(frozen=True)
class Choice:
    """What a model is fitted with.

    Attributes:
        settings: its settings.
        num_epochs: its number of epochs; 0 for a model without.
    """

    settings: Settings
    num_epochs: int


@dataclasses.dataclass(frozen=True)
class Tuned:
    """A fitted model, and how it was chosen.

    Attributes:
        answer: the model.
        choice: what it was fitted with.
        validation: its validation metric.
        seconds: duration of this one fit.
        tuning_seconds: duration of all fits.
        trials: all that was measured on validation ratings, in order.
    """

    answer: Answer
    choice: Choice
    validation: float
    seconds: float
    tuning_seconds: float
    trials: list[dict[str, Any]]


class _Candidate:
    """A fit with one of the settings, which is measured now and then."""

    def __init__(self, settings: Settings, fit: Iterator[Answer]) -> None:
        self.settings = settings
        self.seconds = 0.0
        self.last_loss = float("inf")
        self._fit = fit

    def fit_on(self) -> Answer:
        """Fits up to the next number of epochs."""
        start = time.monotonic()
        answer = next(self._fit)
        self.seconds += time.monotonic() - start
        return answer


def tune(
    model: Model, data: FitData, seed: int, choice: Choice | None = None
) -> Tuned:
    """Fits a model with each of its settings, and keeps the best.

    All of them get the same number of epochs before one gets more. One goes on
    only while it gets better, and while it is at most 2 % behind the best.

    Args:
        model: the model.
        data: what to fit and to choose on.
        seed: seed of the fits.
        choice: what was chosen before; nothing else is tried.
    """
    grid = (choice.settings,) if choice else model.grid
    epochs = (choice.num_epochs,) if choice else model.epochs
    candidates = [
        _Candidate(settings, model.fit(data, seed, epochs, **settings))
        for settings in grid
    ]
    sign = 1 if model.metric == RMSE else -1
    trials: list[dict[str, Any]] = []
    best: Tuned | None = None
    running = candidates
    for num_epochs in epochs:
        losses = []
        for candidate in running:
            answer = candidate.fit_on()
            value = _measure(model.metric, answer, data)
            losses.append(sign * value)
            trials.append(
                {
                    "settings": dict(candidate.settings),
                    "num_epochs": num_epochs,
                    model.metric: value,
                    "seconds": candidate.seconds,
                }
            )
            if best is None or sign * value < sign * best.validation:
                best = Tuned(
                    answer,
                    Choice(candidate.settings, num_epochs),
                    value,
                    candidate.seconds,
                    0.0,
                    trials,
                )
        running = _prune(running, losses)
    if best is None:
        raise ValueError("`grid` and `epochs` must not be empty.")
    total = sum(candidate.seconds for candidate in candidates)
    return dataclasses.replace(best, tuning_seconds=total)


def _prune(
    candidates: list[_Candidate], losses: list[float]
) -> list[_Candidate]:
    """Keeps the candidates that got better and are not far behind."""
    lowest = min(losses, default=0.0)
    bound = lowest + _MARGIN * abs(lowest)
    kept = []
    for candidate, loss in zip(candidates, losses, strict=True):
        if loss <= bound and loss < candidate.last_loss:
            kept.append(candidate)
        candidate.last_loss = loss
    return kept


def _measure(metric: str, answer: Answer, data: FitData) -> float:
    """Measures a metric of a model on the validation ratings."""
    if metric == RMSE:
        errors = Errors(data.distribution.range)
        measure(answer, data.validation, [errors], has_lists=False)
        return errors.result()[MODEL][metric]
    rankings = Rankings(data.items.counts, data.distribution.liked_from)
    measure(answer, data.validation, [rankings])
    return rankings.result()[MODEL][metric]
