"""Sums up the fits of a comparison: means, deviations, intervals."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.compare.models import MODELS, NDCG, RMSE
from trainer.evaluation.intervals import find_intervals

#: The record of a fit, as `fit_and_measure` returns it.
Record = Mapping[str, Any]


def summarize(
    records: Mapping[str, Sequence[Record]], reference: str | None = None
) -> dict[str, Any]:
    """Sums up fits, all seeds and folds of a model together.

    An interval is of the mean over the seeds: test users are resampled, the
    same ones for all models. Over several folds the resampled metrics are
    averaged; each fold weighs the same. Folds are resampled independently, so a
    user who is in several of them, as in published ones, counts as several
    users, which makes the intervals somewhat too narrow.

    Args:
        records: by the name of the fold, what `fit_and_measure` returns, of
            one fit or more; each fold has the same models.
        reference: the model that the others are compared with; `None` takes
            the best in each metric.

    Returns:
        `models`: by name, `seeds`; `mean` and `deviation` of each test metric
        over the seeds, a deviation only of two seeds or more; `intervals` of
        `rmse` and `liked/ndcg@10`, with `low`, `high` and, but for the
        reference, `difference`, the model's mean less that of the reference,
        `difference_low` and `difference_high`; the chosen `settings` and
        `num_epochs`, the `validation` metric, the number of `trials` that
        chose them and the `tuning_seconds` that these took; `seconds` and
        `peak_bytes` of a fit, means over the seeds; `serves_new_users`. Fits
        that were stopped and went on have no seconds, which are `None` where
        there is no other. `references`: by metric.

        Of several folds, all of this but the intervals is there for each, by
        its name under `folds`. `mean` and `deviation` are then over the folds,
        of the means over their seeds, seconds and bytes are means over the
        folds, and what was chosen is under `folds` alone.
    """
    by_model: dict[str, dict[str, list[Record]]] = {}
    for fold, of_fold in records.items():
        for record in of_fold:
            by_fold = by_model.setdefault(record["model"], {})
            by_fold.setdefault(fold, []).append(record)
    models = {
        name: {
            "title": MODELS[name].title,
            "serves_new_users": MODELS[name].serves_new_users,
            "intervals": {},
            **_sum_up(folds),
        }
        for name, folds in by_model.items()
    }
    references = {}
    for metric, best in ((RMSE, min), (NDCG, max)):
        resampled = {
            name: _average_resampled(metric, folds)
            for name, folds in by_model.items()
            if metric in models[name]["mean"]
        }
        if not resampled:
            continue
        chosen = (
            reference
            if reference in resampled
            else best(resampled, key=lambda name: resampled[name][0])
        )
        references[metric] = chosen
        for name, row in find_intervals(resampled, chosen).items():
            models[name]["intervals"][metric] = _turn_round(row)
    return {"models": models, "references": references}


def _sum_up(folds: Mapping[str, Sequence[Record]]) -> dict[str, Any]:
    """Sums up the fits of one model."""
    rows = {fold: _sum_up_fold(fits) for fold, fits in folds.items()}
    first, *others = rows.values()
    if not others:
        return first
    return {
        "seeds": first["seeds"],
        **_mean_and_deviation([row["mean"] for row in rows.values()]),
        **_costs(list(rows.values())),
        "tuning_seconds": _mean_of_known(rows.values(), "tuning_seconds"),
        "folds": rows,
    }


def _sum_up_fold(fits: Sequence[Record]) -> dict[str, Any]:
    """Sums up the fits of one model to one fold, the first of them tuned."""
    first = fits[0]
    return {
        "seeds": [fit["seed"] for fit in fits],
        **_mean_and_deviation([fit["test"] for fit in fits]),
        "settings": first["settings"],
        "num_epochs": first["num_epochs"],
        "validation": first["validation"],
        "num_trials": len(first["trials"]),
        **_costs(fits),
        "tuning_seconds": first["tuning_seconds"],
    }


def _mean_and_deviation(
    rows: Sequence[Mapping[str, float]],
) -> dict[str, dict[str, float]]:
    """Computes both of each metric that all rows have."""
    metrics = [
        metric for metric in rows[0] if all(metric in row for row in rows)
    ]
    values = {metric: [row[metric] for row in rows] for metric in metrics}
    return {
        "mean": {metric: float(np.mean(values[metric])) for metric in metrics},
        "deviation": {
            metric: float(np.std(values[metric], ddof=1))
            for metric in metrics
            if len(rows) > 1
        },
    }


def _costs(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Computes the mean duration and memory of fits."""
    return {
        "seconds": _mean_of_known(rows, "seconds"),
        "peak_bytes": int(np.mean([row["peak_bytes"] for row in rows])),
    }


def _average_resampled(
    metric: str, folds: Mapping[str, Sequence[Record]]
) -> npt.NDArray[np.float64]:
    """Averages a metric and its resamples over seeds and folds."""
    averages = []
    for place, fits in enumerate(folds.values()):
        average = np.mean([fit["resampled"][metric] for fit in fits], axis=0)
        # All folds have the same draws, which would tie users to strangers.
        np.random.default_rng(place).shuffle(average[1:])
        averages.append(average)
    return np.mean(averages, axis=0)


def _mean_of_known(
    rows: Iterable[Mapping[str, Any]], name: str
) -> float | None:
    """Computes the mean of a figure over the rows that have it."""
    known = [row[name] for row in rows if row[name] is not None]
    return float(np.mean(known)) if known else None


def _turn_round(row: Mapping[str, float]) -> dict[str, float]:
    """Turns the reference less the model to the model less the reference."""
    if "difference" not in row:
        return dict(row)
    return {
        "low": row["low"],
        "high": row["high"],
        "difference": -row["difference"],
        "difference_low": -row["difference_high"],
        "difference_high": -row["difference_low"],
    }
