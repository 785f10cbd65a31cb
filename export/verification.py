"""Compares a SavedModel, run as TensorFlow Serving runs it, with its model."""

import contextlib
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from export.cpp_loader import CppSavedModel
from export.precision import precision_in_use, tolerance_in
from export.probe_requests import Arrays, Request, pad_histories, to_examples
from export.probe_users import User
from export.settings import ExportSettings
from export.signatures.signatures import Signatures
from serving import protocol
from trainer.job.record import TrainedJob
from trainer.model.rating_model import RatingModel
from trainer.model.taught_autoencoder import TaughtAutoEncoder

# Output of item ids -> the output that they are ranked by, and what else there
# is of each item.
_RANKED_BY = {
    protocol.ITEM_IDS: (
        protocol.SCORES,
        protocol.PREDICTED_RATINGS,
        protocol.TITLES,
    ),
    protocol.REASON_ITEM_IDS: (protocol.CONTRIBUTIONS, protocol.REASON_TITLES),
    protocol.SIMILAR_ITEM_IDS: (
        protocol.SIMILARITIES,
        protocol.SIMILAR_TITLES,
    ),
}

# Items per user whose predictions are compared.
_MAX_CANDIDATES = 1000


class ServedModel(contextlib.AbstractContextManager["ServedModel"]):
    """A SavedModel in the loader that TensorFlow Serving uses.

    Args:
        path: its directory.

    Attributes:
        signature_defs: its SignatureDefs by name.

    Raises:
        RuntimeError: the loader refuses it.
    """

    def __init__(self, path: str) -> None:
        self.signature_defs = _read_signature_defs(path)
        self._loaded = CppSavedModel(path)

    def answer(self, request: Request) -> Arrays:
        """Answers a request.

        Args:
            request: the name of a signature and its inputs.

        Returns:
            The outputs of the signature by name; strings as `bytes`.

        Raises:
            RuntimeError: the model refuses the request.
        """
        tensors = self.signature_defs[request.signature_name]
        outputs = self._loaded.run(
            {
                tensors.inputs[name].name: value
                for name, value in request.inputs.items()
            },
            [info.name for info in tensors.outputs.values()],
        )
        return dict(zip(tensors.outputs, outputs, strict=True))

    def __exit__(self, *_: object) -> None:
        self._loaded.close()


def check_answers(
    served: ServedModel,
    signatures: Signatures,
    requests: Iterable[Request],
    precision: str | None = None,
) -> None:
    """Compares the answers of a SavedModel with those of its signatures.

    Args:
        served: the SavedModel.
        signatures: the functions that it was written from.
        requests: requests to ask both.
        precision: the type that products take their factors in; by default
            that of this machine.

    Raises:
        RuntimeError: an answer differs or is not finite.
    """
    tolerance = tolerance_in(precision or precision_in_use())
    low, high = signatures.rating_scale
    units = {protocol.PREDICTED_RATINGS: high - low}
    if signatures.predictor.is_scored_by_rating:
        units[protocol.SCORES] = units[protocol.CONTRIBUTIONS] = high - low
    for request in requests:
        expected = signatures.graph(request.signature_name)(
            **{key: tf.constant(value) for key, value in request.inputs.items()}
        )
        expected = {name: value.numpy() for name, value in expected.items()}
        answer = served.answer(request)
        for ids, (scores, *others) in _RANKED_BY.items():
            if ids not in expected:
                continue
            expected_ids = expected.pop(ids)
            if not same_ranking(
                (answer[ids], answer[scores]),
                (expected_ids, expected.pop(scores)),
                units.get(scores, 1.0),
                tolerance,
            ):
                raise _refusal(request, ids)
            for name in others:
                # Near ties may have changed places, those with the last one
                # be others.
                places = _places_of(answer[ids], expected_ids)
                values = np.take_along_axis(expected.pop(name), places, -1)
                _compare(
                    request,
                    name,
                    answer[name],
                    np.where(places >= 0, values, answer[name]),
                    units.get(name, 1.0),
                    tolerance,
                )
        for name, value in expected.items():
            _compare(
                request,
                name,
                answer[name],
                value,
                units.get(name, 1.0),
                tolerance,
            )


def same_ranking(
    actual: tuple[np.ndarray, np.ndarray],
    expected: tuple[np.ndarray, np.ndarray],
    unit: float,
    tolerance: float,
) -> bool:
    """Compares two rankings, in which near ties may be in any order.

    Args:
        actual: item ids and the values that they are ranked by, `(..., k)`.
        expected: the same.
        unit: a usual difference of values.
        tolerance: how far they may be apart, relative to the numbers at hand.

    Returns:
        Whether the rankings are the same.
    """
    if any(
        one.shape != other.shape
        for one, other in zip(actual, expected, strict=True)
    ):
        return False
    margin = _margin(expected[1], unit, tolerance)
    if not _agree(np.abs(actual[1]), np.abs(expected[1]), margin):
        return False
    *batch, length = actual[0].shape
    rows = [
        array.reshape(math.prod(batch), length)
        for array in (*actual, *expected)
    ]
    for ids, values, expected_ids, expected_values in zip(*rows, strict=True):
        value_of = dict(zip(expected_ids, expected_values, strict=True))
        for item_id, value in zip(ids, values, strict=True):
            # An item that is not expected may at best tie with the last.
            is_right = (
                _agree(value, value_of[item_id], margin)
                if item_id in value_of
                else _agree(np.abs(value), np.abs(expected_values[-1]), margin)
            )
            if not is_right:
                return False
    return True


def check_predictions(
    served: ServedModel,
    job: TrainedJob,
    users: Sequence[User],
    settings: ExportSettings,
    precision: str | None = None,
) -> None:
    """Compares predictions and recommendations with the trained model's.

    The expected values share no code with the export: they are the model's
    answers to the users' ratings, ranked by NumPy.

    Args:
        served: the SavedModel.
        job: the trained job.
        users: the users who ask.
        settings: how the job was exported.
        precision: the type that products take their factors in; by default
            that of this machine.

    Raises:
        RuntimeError: an answer differs or is not finite.
    """
    tolerance = tolerance_in(
        precision or precision_in_use(job.model.compute_dtype)
    )
    scale = (job.data.rating_min, job.data.rating_max)
    ids = np.array(job.items.item_ids, object)
    ratings = _to_sparse(users, len(ids))
    predictions, scores, is_rating = _ask(job.model, ratings, settings.rank_by)
    width = scale[1] - scale[0]
    score_unit = width if is_rating else 1.0
    unclipped = predictions
    if settings.clip_predictions:
        predictions = np.clip(predictions, *scale)
    chosen = np.linspace(0, len(ids) - 1, _MAX_CANDIDATES).astype(int)
    candidates = np.tile(ids[chosen], (len(users), 1))
    request = Request(
        protocol.PREDICT,
        {
            **pad_histories(users, ids),
            protocol.CANDIDATE_ITEM_IDS: candidates,
        },
    )
    answer = served.answer(request)
    _compare(
        request,
        protocol.PREDICTED_RATINGS,
        answer[protocol.PREDICTED_RATINGS],
        predictions[:, chosen],
        width,
        tolerance,
    )
    if job.uncertainty is not None:
        _compare(
            request,
            protocol.STANDARD_DEVIATIONS,
            answer[protocol.STANDARD_DEVIATIONS],
            job.uncertainty(ratings, unclipped).numpy()[:, chosen],
            width,
            tolerance,
        )

    scores[tuple(ratings.indices.numpy().T)] = -np.inf
    request = Request(
        protocol.RECOMMEND_EXAMPLES,
        {protocol.EXAMPLES: to_examples(users, ids)},
    )
    answer = served.answer(request)
    num_items = answer[protocol.ITEM_IDS].shape[1]
    best = np.sort(scores, axis=1)[:, ::-1][:, :num_items]
    is_item = np.isfinite(best)
    expected = np.where(is_item, best, np.float32(0))
    _compare(
        request,
        protocol.SCORES,
        answer[protocol.SCORES],
        expected,
        score_unit,
        tolerance,
    )
    # Near ties may be in any order: an item is right if its score is.
    index_of_id = {item_id.encode(): i for i, item_id in enumerate(ids)}
    rows, columns = np.nonzero(is_item)
    indices = [
        index_of_id.get(item_id, -1)
        for item_id in answer[protocol.ITEM_IDS][rows, columns]
    ]
    _compare(
        request,
        protocol.ITEM_IDS,
        scores[rows, indices],
        expected[rows, columns],
        score_unit,
        tolerance,
    )
    _compare(
        request,
        protocol.PREDICTED_RATINGS,
        answer[protocol.PREDICTED_RATINGS][rows, columns],
        predictions[rows, indices],
        width,
        tolerance,
    )


def _ask(
    model: RatingModel, ratings: tf.SparseTensor, rank_by: str
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Asks the trained model.

    Returns:
        The predicted ratings, what ranks items, each `(num_users, num_items)`,
        and whether these are the predicted ratings.
    """
    if not isinstance(model, TaughtAutoEncoder):
        predictions = model(ratings, training=False).numpy()
        return predictions, predictions.copy(), True
    answers = tf.function(model.answer)(ratings)
    predictions = model.blend(answers.network, answers.teacher).numpy()
    if rank_by == "rating":
        return predictions, predictions.copy(), True
    scores = answers.interest if rank_by == "interest" else model.score(answers)
    return predictions, scores.numpy(), False


def _to_sparse(users: Sequence[User], num_items: int) -> tf.SparseTensor:
    rows = np.repeat(range(len(users)), [len(user.items) for user in users])
    items = np.concatenate([user.items for user in users])
    return tf.SparseTensor(
        np.stack([rows, items], axis=1).astype(np.int64),
        np.concatenate([user.ratings for user in users]),
        (len(users), num_items),
    )


def _places_of(ids: np.ndarray, expected_ids: np.ndarray) -> np.ndarray:
    """Finds the place of each id among the expected of its row; -1 for none."""
    *batch, length = ids.shape
    rows = (
        array.reshape(math.prod(batch), length) for array in (ids, expected_ids)
    )
    places = []
    for row, expected in zip(*rows, strict=True):
        place_of = {item_id: place for place, item_id in enumerate(expected)}
        places.append([place_of.get(item_id, -1) for item_id in row])
    return np.array(places, int).reshape(ids.shape)


def _compare(
    request: Request,
    name: str,
    actual: np.ndarray,
    expected: np.ndarray,
    unit: float,
    tolerance: float,
) -> None:
    """Refuses other values than expected, `unit` being a usual difference."""
    margin = _margin(expected, unit, tolerance)
    if actual.shape != expected.shape or not _agree(actual, expected, margin):
        raise _refusal(request, name)


def _margin(
    expected: np.ndarray,
    unit: float,
    tolerance: float,
) -> float:
    """Returns how far rounding may move numbers that come of one computation.

    A sum of large numbers may be small, and has the rounding errors of the
    large ones. So it is the largest of the numbers that counts, or a usual
    difference of them if that is more.
    """
    if expected.dtype != np.float32:
        return 0.0
    return tolerance * max(unit, float(np.max(np.abs(expected), initial=0)))


def _agree(actual: np.ndarray, expected: np.ndarray, margin: float) -> bool:
    if not margin:
        return bool(np.all(actual == expected))
    # Written so that a value that is not finite differs from itself.
    with np.errstate(invalid="ignore"):
        return bool(np.all(np.abs(actual - expected) <= margin))


def _refusal(request: Request, name: str) -> RuntimeError:
    return RuntimeError(
        f"The SavedModel answers {request.signature_name!r} with other {name}"
        " than the model. It is not published."
    )


def _read_signature_defs(path: str) -> Mapping[str, Any]:
    saved_model = saved_model_pb2.SavedModel()
    with tf.io.gfile.GFile(os.path.join(path, "saved_model.pb"), "rb") as file:
        saved_model.ParseFromString(file.read())
    return saved_model.meta_graphs[0].signature_def
