"""Writes the model card that comes with each published version."""

import base64
import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from data_prep.dataset.files import read_json
from data_prep.dataset.manifest import Manifest
from export.probe_requests import to_examples
from export.probe_users import User
from export.settings import ExportSettings
from export.signatures.signatures import Signatures
from serving import protocol
from trainer.job.paths import JobPaths
from trainer.job.record import TrainedJob
from trainer.renamed_settings import use_current_names

_FILE_NAME = "assets.extra/model_card.md"

_INTRODUCTION = """\
# Recommender

A deep autoencoder (Kuchaiev and Ginsburg, 2017, https://arxiv.org/abs/1708.01715).
It reads the ratings that a user gave and predicts their rating of every item;
users whom it never saw are served like any others. Recommendations are ranked
by `scores`: {ranks_by}. Exported with TensorFlow {tensorflow} and
Keras {keras}.
"""

_WARNING = """
**Test ratings are predicted worse by this model than by the best baseline.**
The table of metrics has both. Do not serve its predictions before you know
why.
"""

_LIMITS = """\
- It knows only the {num_items:,} items that had training ratings. Unknown
  items in a history are ignored (`num_known_items` counts the known ones); the
  prediction for an unknown candidate is the mean rating, {rating_mean:.4g},
  plus the user's offset.
- Ratings must lie on the scale from {rating_min:g} to {rating_max:g}; others
  are refused. {clipping}
- All users without a known rating get the same answer, that to an empty
  history.
- The errors above are over test ratings that users chose to give. They say
  little about items that users do not choose, or about how well a list of
  recommendations is received. Items with few ratings are predicted worse.
- Pad histories to {history_length} items with `""` and 0.0 where a server
  batches requests. Never set `pad_variable_length_inputs` there: it pads with
  another user's rating.
- A contribution in `explain` is the effect of a rating on this model's score,
  not a cause in the world.
- A similarity in `similar` is the cosine of the two items' rows of
  {vectors_from}. It compares how the model scores the items, not what
  they contain.
"""


def write_model_card(
    version_dir: str,
    paths: JobPaths,
    job: TrainedJob,
    settings: ExportSettings,
    signatures: Signatures,
    signature_defs: Mapping[str, Any],
) -> None:
    """Writes the model card of a version.

    Args:
        version_dir: a SavedModel.
        paths: the paths of the job.
        job: the trained job.
        settings: the settings of the export.
        signatures: the signatures of the SavedModel.
        signature_defs: the SignatureDefs of the SavedModel, by name.
    """
    low, high = signatures.rating_scale
    facts = {
        **dataclasses.asdict(job.data),
        "history_length": signatures.history_length,
        "vectors_from": signatures.predictor.vectors_from,
        "clipping": "Predicted ratings are clipped to it; the ranking is not."
        if settings.clip_predictions
        else "Predicted ratings may lie beyond it.",
    }
    sections = {
        "Data": _list(_describe_data(job.data)),
        "Metrics": _describe_metrics(paths),
        "Training settings": _list(_training_settings(paths)),
        "Export settings": _list(
            {
                "top_k": settings.top_k,
                "rank_by": settings.rank_by,
                "clip_predictions": settings.clip_predictions,
                "history_length": signatures.history_length,
                "default_signature": settings.default_signature,
            }
        ),
        "Signatures": "\n".join(
            _describe_signature(name, signature_defs[name], row)
            for name, row in example_rows(
                signatures, job.items.item_ids, (high, low)
            )
        ),
        "Limits": _LIMITS.format(**facts),
    }
    text = _INTRODUCTION.format(
        ranks_by=signatures.predictor.ranks_by,
        tensorflow=tf.__version__,
        keras=keras.__version__,
    )
    if _read_metrics(paths).get("beats_baselines") is False:
        text += _WARNING
    for title, content in sections.items():
        text += f"\n## {title}\n\n{content}"
    path = os.path.join(version_dir, _FILE_NAME)
    tf.io.gfile.makedirs(os.path.dirname(path))
    with tf.io.gfile.GFile(path, "w") as file:
        file.write(text)


def example_rows(
    signatures: Signatures, item_ids: Sequence[str], ratings: Sequence[float]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Makes a row of a request to each signature, in JSON's types.

    Args:
        signatures: the signatures to ask.
        item_ids: the raw id of each item index.
        ratings: the user's ratings of the first items.

    Yields:
        The name of a signature and its inputs by name.
    """
    rated = np.arange(min(len(item_ids), len(ratings)))
    user = User(rated, np.array(ratings, np.float32)[rated])
    ids = np.array(item_ids, object)
    others = ids[-2:]
    (example,) = to_examples([user], ids, [others])
    inputs = {
        protocol.ITEM_IDS: ids[rated].tolist(),
        protocol.RATINGS: user.ratings.tolist(),
        protocol.CANDIDATE_ITEM_IDS: others.tolist(),
        protocol.TARGET_ITEM_IDS: others.tolist(),
        protocol.NUM_RECOMMENDATIONS: len(others),
        protocol.EXAMPLES: {"b64": base64.b64encode(example).decode()},
    }
    for name, specs in signatures.input_specs.items():
        yield name, {spec.name: inputs[spec.name] for spec in specs}


def _describe_data(data: Manifest) -> dict[str, Any]:
    return {
        "source": data.source,
        "split": data.split,
        "seed of the split": data.seed,
        "users": f"{data.num_users:,}",
        "items": f"{data.num_items:,}",
        "ratings": ", ".join(
            f"{count:,} {name}" for name, count in data.num_ratings.items()
        ),
        "rating scale": f"{data.rating_min:g} to {data.rating_max:g}",
        "mean training rating": f"{data.rating_mean:.4g}",
        "fingerprint": data.fingerprint,
    }


def _read_metrics(paths: JobPaths) -> dict[str, Any]:
    """Reads the metrics of a job; there are none before it is evaluated."""
    if not tf.io.gfile.exists(paths.metrics_file):
        return {}
    metrics: dict[str, Any] = read_json(paths.metrics_file)
    return metrics


def _describe_metrics(paths: JobPaths) -> str:
    metrics = _read_metrics(paths)
    if not metrics:
        return "The job was exported before it was evaluated.\n"
    rows = {}
    for name in ("test", "validation"):
        if name not in metrics:
            continue
        rows[f"{name} ratings"] = metrics[name]
        if "all" in metrics[name]:
            rows[f"{name} ratings, unknown items included"] = metrics[name][
                "all"
            ]
    for name, baseline in metrics.get("baselines", {}).items():
        rows[f"test ratings, by {name} alone"] = baseline
    # Everything that is a number, since later jobs may have more metrics.
    names = sorted(
        {
            name
            for row in rows.values()
            for name, value in row.items()
            if isinstance(value, int | float)
        }
    )
    return _table(
        ["", *names],
        (
            [title, *(_format_number(row.get(name)) for name in names)]
            for title, row in rows.items()
        ),
    )


def _training_settings(paths: JobPaths) -> dict[str, Any]:
    settings = use_current_names(read_json(paths.config_file))
    return dict(sorted(settings.items()))


def _describe_signature(
    name: str, signature_def: Any, row: dict[str, Any]
) -> str:
    tensors = _table(
        ["", "name", "type", "shape"],
        (
            [kind, tensor, *_describe_tensor(info)]
            for kind, infos in (
                ("input", signature_def.inputs),
                ("output", signature_def.outputs),
            )
            for tensor, info in sorted(infos.items())
        ),
    )
    request = json.dumps(
        {"signature_name": name, "instances": [row]}, ensure_ascii=False
    )
    return f"### {name}\n\n{tensors}\n```json\n{request}\n```\n"


def _describe_tensor(info: Any) -> tuple[str, str]:
    sizes = [
        "any" if dim.size < 0 else str(dim.size)
        for dim in info.tensor_shape.dim
    ]
    return tf.as_dtype(info.dtype).name, f"[{', '.join(['batch', *sizes[1:]])}]"


def _format_number(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _list(facts: Mapping[str, Any]) -> str:
    return "".join(
        f"- {name}: {_format_fact(value)}\n" for name, value in facts.items()
    )


def _format_fact(value: Any) -> str:
    return value if isinstance(value, str) else f"`{json.dumps(value)}`"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
