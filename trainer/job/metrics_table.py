"""The metrics of a job as a table of text."""

from collections.abc import Mapping
from typing import Any

from trainer.job.metrics import DISPLAY_NAMES, MODEL


def tabulate_metrics(metrics: Mapping[str, Any]) -> str:
    """Formats the main figures beside those of teachers and baselines.

    Args:
        metrics: the content of `metrics.json`.
    """
    lines = []
    model = f"{DISPLAY_NAMES[MODEL]}, epoch {metrics['best_epoch']}"
    baselines = metrics["baselines"]
    lines.append(
        "\nErrors over the test ratings, each of which weighs the same:"
    )
    for name, row in (
        *((DISPLAY_NAMES[name], row) for name, row in baselines.items()),
        (model, metrics["test"]),
    ):
        lines.append(
            f"  {name:<24} RMSE {row['rmse']:.4f}  MAE {row['mae']:.4f}"
        )
    num_cold = 0
    if "all" in metrics["test"]:
        everything = metrics["test"]["all"]
        num_cold = everything["num_ratings"] - metrics["test"]["num_ratings"]
    if num_cold:
        lines.append(
            f"  {'  and unknown items':<24} RMSE {everything['rmse']:.4f}"
            f"  MAE {everything['mae']:.4f}  ({num_cold:,} more ratings, of"
            " items without training ratings)"
        )
    ranking = metrics["ranking"]
    lines.append(
        "\nLists for the test users, without what they rated in training; liked"
        f" is a rating of {metrics['liked_from']:g} or more:"
    )
    for name in (*sorted(ranking.keys() - {MODEL}), MODEL):
        row = ranking[name]
        shown = model if name == MODEL else DISPLAY_NAMES[name]
        lines.append(
            f"  {shown:<24}"
            f" NDCG@10 liked {row['liked/ndcg@10']:.4f}"
            f"  all {row['all/ndcg@10']:.4f}"
            f"  recall@50 liked {row['liked/recall@50']:.4f}"
            f"  most frequent item in {row['top_share']:.0%} of lists"
        )
    if not metrics["beats_baselines"]:
        best = min(baselines, key=lambda name: baselines[name]["rmse"])
        lines.append(
            "\nWARNING: the model does not beat its baselines. Its test RMSE is"
            f" {metrics['test']['rmse']:.4f}, that of {DISPLAY_NAMES[best]}"
            f" alone {baselines[best]['rmse']:.4f}."
        )
    return "\n".join(lines)
