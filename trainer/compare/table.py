"""Writes a comparison as tables of text, for terminal and page."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trainer.compare.models import NDCG, RMSE
from trainer.text_table import Table


def make_tables(summary: Mapping[str, Any]) -> list[Table]:
    """Makes a table of the errors and one of the lists, the best model first.

    Of several folds, each is followed by a table of the figures per fold.

    Args:
        summary: what `summarize` returns.
    """
    models, references = summary["models"], summary["references"]
    tables = []
    for metric, title, others, sign in (
        (
            RMSE,
            "Predicted ratings: RMSE, the lower the better",
            [*_find_cold_metrics(models.values()), "mae"],
            1,
        ),
        (
            NDCG,
            "Lists of ten: NDCG@10 of liked items, the higher the better",
            ["liked/recall@50", "coverage"],
            -1,
        ),
    ):
        if metric not in references:
            continue
        rows = sorted(
            (row for row in models.values() if metric in row["intervals"]),
            key=lambda row: sign * row["mean"][metric],
        )
        against = models[references[metric]]["title"]
        tables.append(
            Table(
                title + _over_folds(rows[0]),
                [
                    "model",
                    _LABELS[metric],
                    "seeds",
                    f"vs {against}",
                    *(_LABELS[name] for name in others),
                    "fit, s",
                    "GB",
                    "new users",
                ],
                [
                    [
                        row["title"],
                        _with_deviation(row, metric),
                        str(len(row["seeds"])),
                        format_difference(row["intervals"][metric]),
                        *(f"{row['mean'][name]:.4f}" for name in others),
                        _seconds(row["seconds"]),
                        f"{row['peak_bytes'] / 1e9:.1f}",
                        "yes" if row["serves_new_users"] else "no",
                    ]
                    for row in rows
                ],
            )
        )
        if "folds" in rows[0]:
            tables.append(_table_of_folds(metric, rows))
    return tables


def _table_of_folds(metric: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    return Table(
        f"{_LABELS[metric]} per fold",
        ["model", *rows[0]["folds"]],
        [
            [
                row["title"],
                *(
                    _with_deviation(fold, metric)
                    for fold in row["folds"].values()
                ),
            ]
            for row in rows
        ],
    )


def _over_folds(row: Mapping[str, Any]) -> str:
    num_folds = len(row.get("folds", ()))
    return f"; means over {num_folds} folds" if num_folds else ""


def _find_cold_metrics(models: Iterable[Mapping[str, Any]]) -> list[str]:
    """Lists the error over all ratings if some are of cold items."""
    means = [row["mean"] for row in models if RMSE in row["mean"]]
    if all(
        "num_ratings_with_cold" in mean
        and mean["num_ratings_with_cold"] > mean["num_ratings"]
        for mean in means
    ):
        return ["rmse_with_cold"]
    return []


_LABELS = {
    RMSE: "RMSE",
    "rmse_with_cold": "with cold items",
    NDCG: "NDCG@10",
    "mae": "MAE",
    "liked/recall@50": "recall@50",
    "coverage": "coverage",
}


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f}"


def _with_deviation(row: Mapping[str, Any], metric: str) -> str:
    mean = f"{row['mean'][metric]:.4f}"
    if metric not in row["deviation"]:
        return mean
    return f"{mean} \N{PLUS-MINUS SIGN} {row['deviation'][metric]:.4f}"


def format_difference(row: Mapping[str, float]) -> str:
    """Writes the difference to the reference; nothing for the reference."""
    if "difference" not in row:
        return ""
    return (
        f"{row['difference']:+.4f} [{row['difference_low']:+.4f},"
        f" {row['difference_high']:+.4f}]"
    )
