"""Writes the report of a finished job: `report.html`."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from data_prep.dataset.files import write_text
from data_prep.dataset.items import Items
from data_prep.dataset.manifest import Manifest, read_manifest
from trainer.config import Config
from trainer.job.history import read_history
from trainer.job.metrics import DISPLAY_NAMES, MODEL
from trainer.job.paths import JobPaths
from trainer.report import charts, page, reproduction
from trainer.report.people import (
    ExtremeUsers,
    Person,
    PredictedUser,
    recommend_to_people,
)

#: Items named of a history or of a user's test ratings.
_NUM_TITLES = 8


def write_report(
    paths: JobPaths,
    config: Config,
    data_dir: str,
    items: Items,
    metrics: Mapping[str, Any],
    extremes: ExtremeUsers,
    score: Callable[[tf.SparseTensor], tf.Tensor],
    test: tf.data.Dataset,
) -> None:
    """Writes the report of a job, one file that needs no other.

    User ids are left out: people pass reports on.

    Args:
        paths: the paths of the job.
        config: its settings.
        data_dir: its prepared data.
        items: the items.
        metrics: the content of `metrics.json`.
        extremes: the users whom the model predicts best and worst.
        score: maps ratings to the scores by which the model ranks.
        test: pairs of training and test ratings.
    """
    titles = items.display_names()
    data = read_manifest(data_dir)
    liked_from = metrics["liked_from"]
    people = recommend_to_people(score, test, liked_from)
    document = page.page(
        f"Recommender on {data.source['name']}",
        f"{data.num_users:,} users, {data.num_items:,} items,"
        f" {sum(data.num_ratings.values()):,} ratings. Figures are over test"
        " ratings, which neither training nor any choice has seen.",
        [
            _headline(metrics),
            _learning(read_history(paths), metrics["best_epoch"]),
            _groups(metrics),
            _cold_start(metrics),
            _calibration(metrics),
            *_uncertainty(metrics),
            _lists(metrics),
            _extremes(extremes, titles),
            _recommendations(people, titles, liked_from),
            describe_data(data),
            _reproduction(paths, config, data, data_dir),
        ],
    )
    write_text(paths.report_file, document)
    logging.info("The report is %s.", paths.report_file)


def _headline(metrics: Mapping[str, Any]) -> str:
    test, ranking = metrics["test"], metrics["ranking"][MODEL]
    biases = metrics["intervals"]["rmse"]["biases"]
    popularity = metrics["intervals"]["liked/ndcg@10"]["popularity"]
    verdict = page.paragraph(
        "Against predictions from the averages of users and items alone, the"
        f" typical error (RMSE) differs by {_difference(biases)}. Against"
        " recommending what is most popular, the worth of a list (NDCG@10,"
        f" where 1 is perfect) differs by {_difference(popularity)}. The"
        " brackets hold the true difference in 95 of 100 such tests; where"
        " they include 0, it may be chance."
    )
    warning = (
        ""
        if metrics["beats_baselines"]
        else page.paragraph(
            "The model does not beat its baselines in RMSE. Find out why"
            " before serving it.",
            "warning",
        )
    )
    return page.section(
        "How good it is",
        warning,
        page.grid(
            [
                page.figure_card(f"{test['rmse']:.4f}", "RMSE of ratings"),
                page.figure_card(f"{test['mae']:.4f}", "mean absolute error"),
                page.figure_card(
                    f"{ranking['liked/ndcg@10']:.3f}", "NDCG@10 of lists"
                ),
                page.figure_card(
                    f"{ranking['liked/hit_rate@10']:.0%}",
                    "of users like one of their ten",
                ),
            ],
            "figures",
        ),
        verdict,
        page.grid(
            [
                page.picture(
                    charts.draw_job_intervals(metrics, "rmse", "RMSE"),
                    "Errors of predicted ratings with 95 % intervals: the"
                    " further left, the better.",
                ),
                page.picture(
                    charts.draw_job_intervals(
                        metrics, "liked/ndcg@10", "NDCG@10, liked items"
                    ),
                    "Worth of the lists with 95 % intervals: the further right,"
                    " the better.",
                ),
            ]
        ),
    )


def _difference(row: Mapping[str, float]) -> str:
    return (
        f"{row['difference']:+.4f} [{row['difference_low']:+.4f},"
        f" {row['difference_high']:+.4f}]"
    )


def _learning(history: Sequence[Mapping[str, Any]], best: int) -> str:
    if not history:
        return page.section(
            "How it learned",
            page.paragraph("The figures of the epochs were not kept."),
        )
    return page.section(
        "How it learned",
        page.grid(
            [
                page.picture(
                    charts.draw_learning(history, best),
                    "Error on validation ratings after each epoch. The weights"
                    " of the lowest are kept.",
                ),
                page.picture(
                    charts.draw_curve(history, "loss", "training loss"),
                    "What training minimizes, on its own ratings.",
                ),
                page.picture(
                    charts.draw_curve(
                        history,
                        "fixed_point_gap",
                        "|f(f(x)) \N{MINUS SIGN} f(x)|",
                    ),
                    "Fixed-point gap: how far predictions move if they are fed"
                    " back as ratings, on the scale of the ratings. Re-feeding"
                    " keeps it small.",
                ),
            ]
        ),
    )


def _groups(metrics: Mapping[str, Any]) -> str:
    users, items = metrics["by_user_activity"], metrics["by_item_popularity"]
    return page.section(
        "For whom, and for which items",
        page.paragraph(
            "Each point is about a tenth of the test users, by how many"
            " ratings the model knows of them, or a tenth of the items, by how"
            " many ratings they have."
        ),
        page.grid(
            [
                page.picture(
                    charts.draw_groups(users, "rmse", "RMSE", "user"),
                    "Error by user activity.",
                ),
                page.picture(
                    charts.draw_groups(
                        users, "liked/ndcg@10", "NDCG@10", "user"
                    ),
                    "Worth of the lists by user activity.",
                ),
                page.picture(
                    charts.draw_groups(items, "rmse", "RMSE", "item"),
                    "Error by item popularity.",
                ),
                page.picture(
                    charts.draw_groups(
                        items, "liked/recall@50", "found in 50", "item"
                    ),
                    "Share of the liked test ratings that the first 50 of a"
                    " list find, by item popularity.",
                ),
            ]
        ),
    )


def _cold_start(metrics: Mapping[str, Any]) -> str:
    curve = metrics["cold_start"]
    return page.section(
        "How it serves new users",
        page.paragraph(
            "The same users, of whom the model is shown only some ratings,"
            " drawn at random. Nothing is trained again."
        ),
        page.grid(
            [
                page.picture(
                    charts.draw_cold_start(curve, "errors", "rmse", "RMSE"),
                    "Error by number of ratings shown.",
                ),
                page.picture(
                    charts.draw_cold_start(
                        curve, "ranking", "liked/ndcg@10", "NDCG@10"
                    ),
                    "Worth of the lists by number of ratings shown.",
                ),
            ]
        ),
    )


def _calibration(metrics: Mapping[str, Any]) -> str:
    calibration = metrics["calibration"]
    return page.section(
        "Whether predictions mean what they say",
        page.grid(
            [
                page.picture(
                    charts.draw_calibration(calibration),
                    "Ratings given where so much was predicted. Points on the"
                    " dashed line are right on average; larger ones hold more"
                    " ratings.",
                ),
                page.picture(
                    charts.draw_predicted_against_given(calibration),
                    "Predictions for each rating given: the stronger the"
                    " color, the more often. The spread is what the model does"
                    " not know.",
                ),
            ]
        ),
    )


def _uncertainty(metrics: Mapping[str, Any]) -> list[str]:
    """Makes the section about deviations, if the model knows them."""
    if "uncertainty" not in metrics:
        return []
    test = metrics["uncertainty"]["test"]
    return [
        page.section(
            "How far to trust a prediction",
            page.paragraph(
                "Each prediction comes with a standard deviation, on average"
                f" {test['mean_deviation']:.2f}. Intervals reach so many"
                " deviations to both sides of the prediction as a normal"
                " distribution asks for."
            ),
            page.grid(
                [
                    page.picture(
                        charts.draw_deviations(test["by_deviation"]),
                        "Typical error (RMSE) against the deviation that was"
                        " predicted, by tenths of the test ratings. On the"
                        " dashed line they are equal.",
                    ),
                    page.table(
                        ["interval", "test ratings in it"],
                        [
                            [f"{float(level):.0%}", f"{share:.1%}"]
                            for level, share in test["coverage"].items()
                        ],
                    ),
                ]
            ),
        )
    ]


def _lists(metrics: Mapping[str, Any]) -> str:
    ranking = metrics["ranking"]
    return page.section(
        "How different people's lists are",
        page.paragraph(
            "Of the lists of ten that all test users get. In common: the share"
            " of their items that two people share on average. Catalog used:"
            " the share of the items that is in anybody's list. Gini: 0 if all"
            " items are listed equally often, near 1 if few take all places."
        ),
        page.table(
            [
                "ranked by",
                "in common",
                "catalog used",
                "Gini",
                "most frequent item in",
                "novelty (bits)",
                "ratings of a listed item",
            ],
            [
                [
                    DISPLAY_NAMES[name],
                    f"{row['overlap']:.0%}",
                    f"{row['coverage']:.0%}",
                    f"{row['gini']:.3f}",
                    f"{row['top_share']:.0%} of lists",
                    f"{row['novelty']:.1f}",
                    f"{row['mean_popularity']:,.0f}",
                ]
                for name, row in sorted(
                    ranking.items(), key=lambda pair: pair[1]["overlap"]
                )
            ],
            own=DISPLAY_NAMES[MODEL],
        ),
    )


def _extremes(extremes: ExtremeUsers, titles: Sequence[str]) -> str:
    if not extremes.best:
        return page.section(
            "Best and worst predicted users",
            page.paragraph("No test user has ten test ratings or more."),
        )
    parts = []
    for heading, users in (
        ("Best predicted", extremes.best),
        ("Worst predicted", extremes.worst),
    ):
        parts += [
            page.card(
                f"{heading}, no. {place}: RMSE {user.rmse:.2f}",
                _predicted_user(user, titles),
            )
            for place, user in enumerate(users, start=1)
        ]
    return page.section(
        "Best and worst predicted users",
        page.paragraph(
            "Of users with ten test ratings or more: up to"
            f" {_NUM_TITLES} test ratings each, those that are missed most"
            " first."
        ),
        page.grid(parts),
    )


def _predicted_user(user: PredictedUser, titles: Sequence[str]) -> str:
    order = abs(user.predictions - user.ratings).argsort(kind="stable")[::-1]
    return page.paragraph(
        f"{len(user.items)} test ratings; the model knows"
        f" {user.num_training_ratings} ratings.",
        "quiet",
    ) + page.table(
        ["item", "given", "predicted"],
        [
            [
                titles[user.items[place]],
                f"{user.ratings[place]:g}",
                f"{user.predictions[place]:.2f}",
            ]
            for place in order[:_NUM_TITLES]
        ],
    )


def _recommendations(
    people: Sequence[Person], titles: Sequence[str], liked_from: float
) -> str:
    parts = []
    for place, person in enumerate(people, start=1):
        history = [
            f"{titles[item]} ({rating:g})"
            for item, rating in person.history[:_NUM_TITLES]
        ]
        lines = []
        for row in person.recommendations:
            line = titles[row.item]
            if row.is_liked is not None:
                line += " \N{EM DASH} " + (
                    "liked it later" if row.is_liked else "rated it low later"
                )
            if row.reasons:
                because = " and ".join(titles[item] for item in row.reasons)
                line += f". Because of {because}."
            lines.append(line)
        parts.append(
            page.card(
                f"Person {place}, of whom {len(person.history)} ratings are"
                " known",
                page.paragraph("Rates highest:", "quiet")
                + page.listing(history)
                + page.paragraph("Is recommended:", "quiet")
                + page.listing(lines, "ol"),
            )
        )
    return page.section(
        "What people get",
        page.paragraph(
            "Test users, chosen by the length of their histories alone. A"
            " reason is a rating without which the item would rank lower."
            f" Liked is a test rating of {liked_from:g} or more."
        ),
        page.grid(parts),
    )


def describe_data(data: Manifest) -> str:
    """Makes the section that describes the data."""
    num_ratings = sum(data.num_ratings.values())
    density = num_ratings / (data.num_users * data.num_items)
    rows: list[tuple[str, object]] = [
        ("source", _describe(data.source)),
        ("split", _describe(data.split)),
        ("seed of the split", data.seed),
        ("users", f"{data.num_users:,}"),
        ("items", f"{data.num_items:,}"),
        *(
            (f"{subset} ratings", f"{count:,}")
            for subset, count in data.num_ratings.items()
        ),
        ("share of user-item pairs that is rated", f"{density:.2%}"),
        (
            "scale",
            f"{data.rating_min:g} to {data.rating_max:g}, mean"
            f" {data.rating_mean:.2f}",
        ),
        ("rows read", f"{data.rows_read:,}"),
        ("valid rows left out", _describe(data.rows_dropped) or "none"),
        ("invalid rows", _describe(data.rows_rejected) or "none"),
        ("other options", _describe(data.options) or "none"),
        ("fingerprint", data.fingerprint),
    ]
    return page.section("The data", page.table([], rows, kind="words"))


def _describe(values: Mapping[str, Any]) -> str:
    """Writes nested names and values on one line, without empty ones."""
    described = {name: _describe_value(value) for name, value in values.items()}
    return "; ".join(
        f"{name.replace('_', ' ')}: {text}"
        for name, text in described.items()
        if text
    )


def _describe_value(value: object) -> str:
    if isinstance(value, Mapping):
        return _describe(value)
    if isinstance(value, list):
        return ", ".join(_describe_value(entry) for entry in value)
    return "" if value is None else str(value)


def _reproduction(
    paths: JobPaths, config: Config, data: Manifest, data_dir: str
) -> str:
    settings = dataclasses.asdict(config)
    commands = "\n\n".join(
        [
            reproduction.prepare_command(data, data_dir),
            reproduction.train_command(
                config, data.num_users, paths.job_dir, data_dir
            ),
        ]
    )
    return page.section(
        "How to make it again",
        page.code(commands),
        page.grid(
            [
                page.card(
                    "Settings", page.table([], settings.items(), kind="words")
                ),
                page.card(
                    "Versions",
                    page.table(
                        [],
                        reproduction.list_versions().items(),
                        kind="words",
                    ),
                ),
            ]
        ),
    )
