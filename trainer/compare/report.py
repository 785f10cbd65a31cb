"""Writes a comparison as a page for people: `compare.html`."""

from collections.abc import Mapping, Sequence
from typing import Any

from data_prep.dataset.files import write_text
from trainer.compare.folds import Fold
from trainer.compare.models import MODELS, NDCG, RMSE
from trainer.compare.table import format_difference, make_tables
from trainer.report import charts, page, reproduction
from trainer.report.report import describe_data

_SUBSETS = ("train", "validation", "test")

_CHARTS = {
    RMSE: (
        "RMSE",
        "Errors of predicted ratings with 95 % intervals: the further left, the"
        " better.",
    ),
    NDCG: (
        "NDCG@10, liked items",
        "Worth of the lists with 95 % intervals: the further right, the"
        " better.",
    ),
}


def write_report(
    path: str, summary: Mapping[str, Any], folds: Sequence[Fold]
) -> None:
    """Writes the page, one file that needs no other.

    Args:
        path: the path of the page, local or remote.
        summary: what `comparison.compare_models` returns.
        folds: the data, one set or more.
    """
    data = folds[0].manifest
    document = page.page(
        f"Recommenders compared on {data.source['name']}",
        f"{_introduce(folds)} Figures are over test"
        " ratings, which neither a fit nor any choice has seen. Recipes of this"
        " project are colored.",
        [
            page.section(
                "Which is best",
                *(
                    page.paragraph(_verdict(summary, metric, label))
                    for metric, label in ((RMSE, "RMSE"), (NDCG, "NDCG@10"))
                    if metric in summary["references"]
                ),
                page.grid(
                    page.picture(_draw(summary, metric), _CHARTS[metric][1])
                    for metric in summary["references"]
                ),
                *(
                    page.card(
                        table.title,
                        page.table(table.header, table.rows, kind="numbers"),
                    )
                    for table in make_tables(summary)
                ),
                page.paragraph(
                    "Behind a mean stands the standard deviation over"
                    f" {'seeds' if len(folds) == 1 else 'folds'}."
                    " Brackets hold the true difference in 95 of 100 such"
                    " tests; where they include 0, it may be chance. A fit is"
                    " one with the chosen settings. Memory is that of the"
                    " whole process. New users are those whom the fit did not"
                    " see.",
                    "quiet",
                ),
            ),
            _tuning(summary),
            describe_data(data) if len(folds) == 1 else _describe(folds),
            page.section(
                "How to make it again",
                page.code(
                    "\n\n".join(
                        [
                            *(
                                reproduction.prepare_command(
                                    fold.manifest, fold.data_dir
                                )
                                for fold in folds
                            ),
                            reproduction.write_command(
                                "trainer.compare",
                                {
                                    "data_dir": tuple(
                                        fold.data_dir for fold in folds
                                    ),
                                    "models": ",".join(summary["models"]),
                                    "seeds": max(
                                        len(row["seeds"])
                                        for row in summary["models"].values()
                                    ),
                                },
                            ),
                        ]
                    )
                ),
                page.table([], summary["versions"].items(), kind="words"),
            ),
        ],
    )
    write_text(path, document)


def _introduce(folds: Sequence[Fold]) -> str:
    """Says how many users, items and ratings there are."""
    data = folds[0].manifest
    if len(folds) == 1:
        return (
            f"{data.num_users:,} users, {data.num_items:,} items,"
            f" {sum(data.num_ratings.values()):,} ratings."
        )
    names = ", ".join(fold.name for fold in folds)
    return f"Means over {len(folds)} folds: {names}."


def _describe(folds: Sequence[Fold]) -> str:
    """Makes the section that describes several data sets."""
    rows = [
        [
            fold.name,
            fold.manifest.source["name"],
            fold.manifest.split["name"],
            f"{fold.manifest.num_users:,}",
            f"{fold.manifest.num_items:,}",
            *(f"{fold.manifest.num_ratings[subset]:,}" for subset in _SUBSETS),
            fold.manifest.fingerprint,
        ]
        for fold in folds
    ]
    return page.section(
        "The data",
        page.table(
            [
                *("fold", "source", "split", "users", "items"),
                *_SUBSETS,
                "fingerprint",
            ],
            rows,
            kind="numbers",
        ),
    )


def _verdict(summary: Mapping[str, Any], metric: str, label: str) -> str:
    """Says who is best, and how the best recipe and the best other differ."""
    models = summary["models"]
    sign = 1 if metric == RMSE else -1
    order = sorted(
        (name for name in models if metric in models[name]["intervals"]),
        key=lambda name: sign * models[name]["mean"][metric],
    )
    best = models[order[0]]
    text = f"{label}: best is {best['title']}, {best['mean'][metric]:.4f}."
    is_own = MODELS[order[0]].is_own
    rivals = [name for name in order if MODELS[name].is_own != is_own]
    if not rivals:
        return text
    rival = models[rivals[0]]
    group = "others" if is_own else "this project's recipes"
    text += (
        f" The best of {group} is {rival['title']}, {rival['mean'][metric]:.4f}"
    )
    if difference := format_difference(rival["intervals"][metric]):
        reference = models[summary["references"][metric]]["title"]
        text += f", which differs from {reference} by {difference}"
    return f"{text}."


def _draw(summary: Mapping[str, Any], metric: str) -> str:
    rows = {
        name: row
        for name, row in summary["models"].items()
        if metric in row["intervals"]
    }
    return charts.draw_intervals(
        {row["title"]: row["mean"][metric] for row in rows.values()},
        {row["title"]: row["intervals"][metric] for row in rows.values()},
        [row["title"] for name, row in rows.items() if MODELS[name].is_own],
        _CHARTS[metric][0],
    )


def _tuning(summary: Mapping[str, Any]) -> str:
    rows = []
    for row in summary["models"].values():
        for fold, tuned in row.get("folds", {"": row}).items():
            chosen = [
                f"{name} {value}" for name, value in tuned["settings"].items()
            ]
            if tuned["num_epochs"]:
                chosen.append(f"epochs {tuned['num_epochs']}")
            ((metric, value),) = tuned["validation"].items()
            rows.append(
                [
                    f"{row['title']} on {fold}" if fold else row["title"],
                    tuned["num_trials"],
                    ", ".join(chosen),
                    f"{metric} {value:.4f}",
                    ""
                    if tuned["tuning_seconds"] is None
                    else f"{tuned['tuning_seconds']:.0f}",
                ]
            )
    return page.section(
        "How each was tuned",
        page.paragraph(
            "The first seed of a model tries all settings on the validation"
            " ratings of the same data, and gives up those that stop getting"
            " better or are 2 % behind. Recipes and the Bayesian factorization"
            " are not tuned."
        ),
        page.table(
            ["model", "trials", "chosen", "validation", "seconds"],
            rows,
            kind="words",
        ),
        *(
            page.paragraph(
                f"{MODELS[name].title} is left out: {reason}", "warning"
            )
            for name, reason in summary["failures"].items()
        ),
    )
