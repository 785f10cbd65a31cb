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
from export.probe_requests import Arrays, Request, pad_histories, to_examples
from export.probe_users import User
from export.signatures.signatures import Signatures
from serving import protocol
from trainer.autoencoder import AutoEncoder

# Largest difference, relative to 1 plus the value, between a model and its
# SavedModel, by the type that the hidden layers compute in. The first and the
# last layer of a SavedModel are always float32.
_TOLERANCES = {"float32": 1e-5, "float16": 1e-2, "bfloat16": 5e-2}

# Output of item ids -> the output that they are ranked by.
_RANKED_BY = {
    protocol.ITEM_IDS: protocol.PREDICTED_RATINGS,
    protocol.REASON_ITEM_IDS: protocol.CONTRIBUTIONS,
    protocol.SIMILAR_ITEM_IDS: protocol.SIMILARITIES,
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
    served: ServedModel, signatures: Signatures, requests: Iterable[Request]
) -> None:
    """Compares the answers of a SavedModel with those of its signatures.

    Args:
        served: the SavedModel.
        signatures: the functions that it was written from.
        requests: requests to ask both.

    Raises:
        RuntimeError: an answer differs or is not finite.
    """
    for request in requests:
        expected = signatures.functions[request.signature_name](
            **{key: tf.constant(value) for key, value in request.inputs.items()}
        )
        expected = {name: value.numpy() for name, value in expected.items()}
        answer = served.answer(request)
        for ids, values in _RANKED_BY.items():
            if ids in expected and not same_ranking(
                (answer[ids], answer[values]),
                (expected.pop(ids), expected.pop(values)),
            ):
                raise _refusal(request, ids)
        for name, value in expected.items():
            _compare(request, name, answer[name], value)


def same_ranking(
    actual: tuple[np.ndarray, np.ndarray],
    expected: tuple[np.ndarray, np.ndarray],
) -> bool:
    """Compares two rankings, in which near ties may be in any order.

    Args:
        actual: item ids and the values that they are ranked by, `(..., k)`.
        expected: the same.

    Returns:
        Whether the rankings are the same.
    """
    if any(
        one.shape != other.shape
        for one, other in zip(actual, expected, strict=True)
    ):
        return False
    if not _agree(np.abs(actual[1]), np.abs(expected[1])):
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
                _agree(value, value_of[item_id])
                if item_id in value_of
                else _agree(np.abs(value), np.abs(expected_values[-1]))
            )
            if not is_right:
                return False
    return True


def check_predictions(
    served: ServedModel,
    model: AutoEncoder,
    item_ids: Sequence[str],
    users: Sequence[User],
    *,
    scale: tuple[float, float] | None,
) -> None:
    """Compares predictions and recommendations with the trained model's.

    The expected values share no code with the export: they are the model's
    predictions for the users' ratings, ranked by NumPy.

    Args:
        served: the SavedModel.
        model: the trained model.
        item_ids: the raw id of each item index.
        users: the users who ask.
        scale: lowest and highest rating that predictions are clipped to;
            `None` if they are not clipped.

    Raises:
        RuntimeError: an answer differs or is not finite.
    """
    tolerance = _TOLERANCES[model.compute_dtype]
    ids = np.array(item_ids, object)
    ratings = _to_sparse(users, len(ids))
    predictions = model(ratings, training=False).numpy()
    chosen = np.linspace(0, len(ids) - 1, _MAX_CANDIDATES).astype(int)
    candidates = np.tile(ids[chosen], (len(users), 1))
    request = Request(
        protocol.PREDICT,
        {
            **pad_histories(users, ids),
            protocol.CANDIDATE_ITEM_IDS: candidates,
        },
    )
    _compare(
        request,
        protocol.PREDICTED_RATINGS,
        served.answer(request)[protocol.PREDICTED_RATINGS],
        _clip(predictions[:, chosen], scale),
        tolerance,
    )

    predictions[tuple(ratings.indices.numpy().T)] = -np.inf
    request = Request(
        protocol.RECOMMEND_EXAMPLES,
        {protocol.EXAMPLES: to_examples(users, ids)},
    )
    answer = served.answer(request)
    num_items = answer[protocol.ITEM_IDS].shape[1]
    best = np.sort(predictions, axis=1)[:, ::-1][:, :num_items]
    is_item = np.isfinite(best)
    expected = np.where(is_item, _clip(best, scale), 0)
    _compare(
        request,
        protocol.PREDICTED_RATINGS,
        answer[protocol.PREDICTED_RATINGS],
        expected,
        tolerance,
    )
    # Near ties may be in any order: an item is right if its prediction is.
    index_of_id = {item_id.encode(): i for i, item_id in enumerate(item_ids)}
    rows, columns = np.nonzero(is_item)
    indices = [
        index_of_id.get(item_id, -1)
        for item_id in answer[protocol.ITEM_IDS][rows, columns]
    ]
    _compare(
        request,
        protocol.ITEM_IDS,
        _clip(predictions[rows, indices], scale),
        expected[rows, columns],
        tolerance,
    )


def _to_sparse(users: Sequence[User], num_items: int) -> tf.SparseTensor:
    rows = np.repeat(range(len(users)), [len(user.items) for user in users])
    items = np.concatenate([user.items for user in users])
    return tf.SparseTensor(
        np.stack([rows, items], axis=1).astype(np.int64),
        np.concatenate([user.ratings for user in users]),
        (len(users), num_items),
    )


def _clip(
    predictions: np.ndarray, scale: tuple[float, float] | None
) -> np.ndarray:
    return predictions if scale is None else np.clip(predictions, *scale)


def _compare(
    request: Request,
    name: str,
    actual: np.ndarray,
    expected: np.ndarray,
    tolerance: float = _TOLERANCES["float32"],
) -> None:
    if not _agree(actual, expected, tolerance):
        raise _refusal(request, name)


def _refusal(request: Request, name: str) -> RuntimeError:
    return RuntimeError(
        f"The SavedModel answers {request.signature_name!r} with other {name}"
        " than the model. It is not published."
    )


def _agree(
    actual: np.ndarray,
    expected: np.ndarray,
    tolerance: float = _TOLERANCES["float32"],
) -> bool:
    if actual.shape != expected.shape:
        return False
    if expected.dtype == np.float32:
        # Written so that a value that is not finite differs from itself.
        with np.errstate(invalid="ignore"):
            difference = np.abs(actual - expected)
        return bool(np.all(difference <= tolerance * (1 + np.abs(expected))))
    return bool(np.all(actual == expected))


def _read_signature_defs(path: str) -> Mapping[str, Any]:
    saved_model = saved_model_pb2.SavedModel()
    with tf.io.gfile.GFile(os.path.join(path, "saved_model.pb"), "rb") as file:
        saved_model.ParseFromString(file.read())
    return saved_model.meta_graphs[0].signature_def
