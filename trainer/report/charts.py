"""The charts of a report, from the figures of a job."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from trainer.job.metrics import DISPLAY_NAMES, MODEL
from trainer.report.drawing import FAINT, SERIES, TEXT, Drawing

#: What is drawn in charts that compare, each with its color.
_COMPARED = dict(
    zip((MODEL, "biases", "ease", "popularity"), SERIES, strict=True)
)


def draw_job_intervals(
    metrics: Mapping[str, Any], metric: str, label: str
) -> str:
    """Draws a metric of model, teachers and baselines with its intervals.

    Args:
        metrics: the content of `metrics.json`.
        metric: "rmse" or "liked/ndcg@10".
        label: the metric for people.
    """
    figures = (
        {MODEL: metrics["test"], **metrics["baselines"]}
        if metric == "rmse"
        else metrics["ranking"]
    )
    intervals = metrics["intervals"][metric]
    return draw_intervals(
        {DISPLAY_NAMES[name]: row[metric] for name, row in figures.items()},
        {DISPLAY_NAMES[name]: intervals[name] for name in figures},
        [DISPLAY_NAMES[MODEL]],
        label,
    )


def draw_intervals(
    values: Mapping[str, float],
    intervals: Mapping[str, Mapping[str, float]],
    own: Collection[str],
    label: str,
) -> str:
    """Draws a metric of models with its intervals.

    Args:
        values: the metric, by the names of the models for people.
        intervals: `low` and `high` of each.
        own: the names of the models that stand out.
        label: the metric for people.
    """
    names = sorted(values, key=lambda name: values[name])
    text = ", ".join(f"{name} {values[name]:.3f}" for name in names)
    with Drawing(f"{label}: {text}.", (4.2, 0.7 + 0.38 * len(names))) as chart:
        for place, name in enumerate(names):
            color = SERIES[0] if name in own else TEXT
            row = intervals[name]
            chart.axes.plot([row["low"], row["high"]], [place] * 2, color=color)
            chart.axes.plot(values[name], place, "o", color=color)
            chart.axes.annotate(
                f"{values[name]:.4f}",
                (values[name], place),
                (0, 5),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=color,
            )
        chart.axes.set_yticks(range(len(names)), names)
        chart.axes.set_ylim(-0.6, len(names) - 0.3)
        chart.axes.margins(x=0.12)
        chart.axes.xaxis.set_major_locator(MaxNLocator(4))
        chart.axes.set_xlabel(label)
    return chart.svg


def draw_learning(history: Sequence[Mapping[str, Any]], best: int) -> str:
    """Draws the validation error and the losses of all epochs.

    Args:
        history: what `read_history` returns, of one epoch or more.
        best: the epoch whose weights are kept.
    """
    epochs = [row["epoch"] for row in history]
    rmse = [row["val_rmse"] for row in history]
    lowest = min(rmse)
    with Drawing(
        f"Validation RMSE over {len(epochs)} epochs, from {rmse[0]:.3f} to"
        f" {rmse[-1]:.3f}; the lowest is {lowest:.3f}."
    ) as chart:
        chart.axes.plot(epochs, rmse, "o-", color=SERIES[0])
        chart.axes.axvline(best, color=SERIES[1], linestyle="--", linewidth=1)
        chart.axes.annotate(
            f"kept: epoch {best}",
            (best, 1),
            (-4, -2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="right",
            va="top",
            color=SERIES[1],
        )
        chart.axes.set_xlabel("epoch")
        chart.axes.set_ylabel("validation RMSE")
        chart.axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return chart.svg


def draw_curve(
    history: Sequence[Mapping[str, Any]], name: str, label: str
) -> str:
    """Draws one figure of all epochs.

    Args:
        history: what `read_history` returns, of one epoch or more.
        name: the name of the figure in it.
        label: its name for people.
    """
    epochs = [row["epoch"] for row in history]
    values = [row[name] for row in history]
    with Drawing(
        f"{label} over {len(epochs)} epochs, from {values[0]:.3f} to"
        f" {values[-1]:.3f}."
    ) as chart:
        chart.axes.plot(epochs, values, "o-", color=SERIES[0])
        chart.axes.set_xlabel("epoch")
        chart.axes.set_ylabel(label)
        chart.axes.set_ylim(bottom=0)
        chart.axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return chart.svg


def draw_groups(
    rows: Sequence[Mapping[str, Any]], metric: str, label: str, of: str
) -> str:
    """Draws a metric by tenths of users or items.

    Args:
        rows: `by_user_activity` or `by_item_popularity` of `metrics.json`.
        metric: "rmse", or the name of a metric of lists in `rows`.
        label: the metric for people.
        of: what the tenths are of, "user" or "item".
    """
    series = [
        {name: figures["rmse"] for name, figures in row["errors"].items()}
        if metric == "rmse"
        else row[metric]
        for row in rows
    ]
    ranges = [
        f"{row['min_ratings']}"
        if row["min_ratings"] == row["max_ratings"]
        else f"{row['min_ratings']}\N{EN DASH}{row['max_ratings']}"
        for row in rows
    ]
    return _draw_series(
        series, ranges, label, f"training ratings of the {of}", rotation=45
    )


def draw_cold_start(
    curve: Sequence[Mapping[str, Any]], group: str, metric: str, label: str
) -> str:
    """Draws a metric by the number of ratings that the model is shown.

    Args:
        curve: `cold_start` of `metrics.json`.
        group: "errors" or "ranking".
        metric: a metric in it.
        label: the metric for people.
    """
    series = [
        {name: figures[metric] for name, figures in row[group].items()}
        for row in curve
    ]
    shown = [
        "all" if row["num_shown"] is None else f"{row['num_shown']}"
        for row in curve
    ]
    return _draw_series(series, shown, label, "ratings shown of each user")


def _draw_series(
    series: Sequence[Mapping[str, float]],
    ticks: Sequence[str],
    label: str,
    ticks_label: str,
    rotation: float = 0,
) -> str:
    """Draws values by ordered groups, one line per model."""
    names = [name for name in _COMPARED if name in series[0]]
    ends = "; ".join(
        f"{DISPLAY_NAMES[name]} from {series[0][name]:.3f} to"
        f" {series[-1][name]:.3f}"
        for name in names
    )
    with Drawing(f"{label} by {ticks_label}: {ends}.") as chart:
        for name in names:
            chart.axes.plot(
                [row[name] for row in series],
                "o-" if name == MODEL else "o--",
                color=_COMPARED[name],
                label=DISPLAY_NAMES[name],
            )
        chart.axes.set_xticks(
            range(len(ticks)),
            ticks,
            rotation=rotation,
            ha="right" if rotation else "center",
            rotation_mode="anchor",
        )
        chart.axes.set_xlabel(ticks_label)
        chart.axes.set_ylabel(label)
        chart.axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=9
        )
    return chart.svg


def draw_calibration(calibration: Mapping[str, Any]) -> str:
    """Draws the mean of the ratings given against their prediction."""
    rows = calibration["by_prediction"]
    predicted = [row["mean_prediction"] for row in rows]
    given = [row["mean_rating"] for row in rows]
    largest = max(row["num_ratings"] for row in rows)
    ends = [calibration["edges"][0], calibration["edges"][-1]]
    with Drawing(
        f"Mean rating given from {given[0]:.2f}, where {predicted[0]:.2f} was"
        f" predicted, to {given[-1]:.2f}, where {predicted[-1]:.2f} was."
    ) as chart:
        chart.axes.plot(ends, ends, "--", color=TEXT, linewidth=1)
        chart.axes.plot(predicted, given, color=SERIES[0])
        chart.axes.scatter(
            predicted,
            given,
            s=[8 + 80 * row["num_ratings"] / largest for row in rows],
            color=SERIES[0],
        )
        chart.axes.set_xlabel("predicted")
        chart.axes.set_ylabel("given, on average")
    return chart.svg


def draw_deviations(rows: Sequence[Mapping[str, float]]) -> str:
    """Draws the errors that were made against the deviations predicted.

    Args:
        rows: `by_deviation` of `metrics.json`.
    """
    predicted = [row["mean_deviation"] for row in rows]
    made = [row["rmse"] for row in rows]
    ends = [min(predicted + made), max(predicted + made)]
    with Drawing(
        f"RMSE from {made[0]:.2f}, where a deviation of {predicted[0]:.2f} was"
        f" predicted, to {made[-1]:.2f}, where {predicted[-1]:.2f} was."
    ) as chart:
        chart.axes.plot(ends, ends, "--", color=TEXT, linewidth=1)
        chart.axes.plot(predicted, made, "o-", color=SERIES[0])
        chart.axes.set_xlabel("deviation predicted")
        chart.axes.set_ylabel("RMSE")
    return chart.svg


def draw_predicted_against_given(calibration: Mapping[str, Any]) -> str:
    """Draws how often each rating was predicted where each was given."""
    edges, ratings = calibration["edges"], calibration["ratings"]
    counts = calibration["counts"]
    means = "; ".join(
        f"{row['rating']:g} given, {row['mean_prediction']:.2f} predicted"
        for row in calibration["by_rating"]
    )
    height = edges[1] - edges[0]
    with Drawing(f"Mean prediction for each rating: {means}.") as chart:
        for place in range(len(ratings)):
            column = [row[place] for row in counts]
            most = max(*column, 1)
            for low, count in zip(edges, column, strict=False):
                chart.axes.add_patch(
                    _cell((place - 0.5, low), height, count / most)
                )
        chart.axes.plot(
            [ratings.index(row["rating"]) for row in calibration["by_rating"]],
            [row["mean_prediction"] for row in calibration["by_rating"]],
            "o",
            color=SERIES[1],
            label="mean prediction",
        )
        step = -(-len(ratings) // 10)
        chart.axes.set_xticks(
            range(0, len(ratings), step),
            [f"{rating:.3g}" for rating in ratings[::step]],
        )
        chart.axes.set_xlim(-0.6, len(ratings) - 0.4)
        chart.axes.set_ylim(edges[0], edges[-1])
        chart.axes.set_xlabel("given")
        chart.axes.set_ylabel("predicted")
        chart.axes.grid(color=FAINT, axis="y")
        chart.axes.legend(loc="upper left", fontsize=9)
    return chart.svg


def _cell(
    corner: tuple[float, float], height: float, share: float
) -> Rectangle:
    return Rectangle(
        corner, 1, height, facecolor=SERIES[0], alpha=0.85 * share, linewidth=0
    )
