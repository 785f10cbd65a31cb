"""Sums up the fits of a comparison: means, deviations, intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainer.compare.models import MODELS, NDCG, RMSE
from trainer.evaluation.intervals import find_intervals


def summarize(
    records: Sequence[Mapping[str, Any]], reference: str | None = None
) -> dict[str, Any]:
    """Sums up fits, all seeds of a model together.

    An interval is of the mean over the seeds: test users are resampled, the
    same ones for all models.

    Args:
        records: what `fit_and_measure` returns, of one fit or more.
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
    """
    by_model: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        by_model.setdefault(record["model"], []).append(record)
    models = {name: _sum_up(name, fits) for name, fits in by_model.items()}
    references = {}
    for metric, best in ((RMSE, min), (NDCG, max)):
        resampled = {
            name: np.mean([fit["resampled"][metric] for fit in fits], axis=0)
            for name, fits in by_model.items()
            if metric in fits[0]["resampled"]
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


def _sum_up(name: str, fits: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sums up the fits of one model, the first of which was tuned."""
    figures = {
        metric: [fit["test"][metric] for fit in fits]
        for metric in fits[0]["test"]
    }
    first = fits[0]
    return {
        "title": MODELS[name].title,
        "seeds": [fit["seed"] for fit in fits],
        "mean": {
            metric: float(np.mean(values)) for metric, values in figures.items()
        },
        "deviation": {
            metric: float(np.std(values, ddof=1))
            for metric, values in figures.items()
            if len(values) > 1
        },
        "intervals": {},
        "settings": first["settings"],
        "num_epochs": first["num_epochs"],
        "validation": first["validation"],
        "num_trials": len(first["trials"]),
        "seconds": _mean_of_known(fits, "seconds"),
        "tuning_seconds": _mean_of_known(fits[:1], "tuning_seconds"),
        "peak_bytes": int(np.mean([fit["peak_bytes"] for fit in fits])),
        "serves_new_users": MODELS[name].serves_new_users,
    }


def _mean_of_known(
    fits: Sequence[Mapping[str, Any]], name: str
) -> float | None:
    """Computes the mean of a figure over the fits that have it."""
    known = [fit[name] for fit in fits if fit[name] is not None]
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
