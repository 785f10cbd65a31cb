"""Requests that exercise every signature, for checks and for warm-up."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from export.probe_users import User
from export.signatures.signatures import Signatures
from serving import protocol

_WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"

#: Name of a tensor in the protocol -> its value.
Arrays = dict[str, np.ndarray]

# Users per batch request, and candidates, targets or recommendations per user.
_NUM_USERS = 4
_NUM_CANDIDATES = 8


class Request(NamedTuple):
    """A request to a served model.

    Attributes:
        signature_name: the signature that it asks.
        inputs: the inputs of the signature by name.
    """

    signature_name: str
    inputs: Arrays


def make_requests(
    signatures: Signatures, item_ids: Sequence[str], users: Sequence[User]
) -> Iterator[Request]:
    """Makes requests to every signature, for one user and for several.

    Args:
        signatures: the signatures to ask.
        item_ids: the raw id of each item index.
        users: who asks. If the requests warm a version up, these should be
            generated users, since the requests are readable in the version.

    Yields:
        The requests.
    """
    ids = np.array(item_ids, object)
    for batch in (users[:1], users[:_NUM_USERS]):
        inputs = pad_histories(batch, ids, signatures.history_length)
        candidates = np.resize(ids, (len(batch), _NUM_CANDIDATES))
        inputs[protocol.CANDIDATE_ITEM_IDS] = candidates
        inputs[protocol.TARGET_ITEM_IDS] = candidates
        inputs[protocol.NUM_RECOMMENDATIONS] = np.full(
            len(batch), _NUM_CANDIDATES, np.int32
        )
        inputs[protocol.EXAMPLES] = to_examples(batch, ids, candidates)
        for name, specs in signatures.input_specs.items():
            yield Request(
                name, {spec.name: inputs[spec.name] for spec in specs}
            )


def pad_histories(
    users: Sequence[User], ids: np.ndarray, min_length: int = 0
) -> Arrays:
    """Pads users' histories to one length.

    Args:
        users: one or more.
        ids: `(num_items,)`, the raw id of each item index.
        min_length: length of the rows if no history is longer.

    Returns:
        `item_ids`, strings padded with `""`, and `ratings`, float32 padded
        with 0, both `(num_users, length)`.
    """
    length = max(min_length, *(len(user.items) for user in users))
    item_ids = np.full((len(users), length), "", object)
    ratings = np.zeros((len(users), length), np.float32)
    for row, user in enumerate(users):
        item_ids[row, : len(user.items)] = ids[user.items]
        ratings[row, : len(user.items)] = user.ratings
    return {protocol.ITEM_IDS: item_ids, protocol.RATINGS: ratings}


def to_examples(
    users: Sequence[User],
    ids: np.ndarray,
    candidates: np.ndarray | Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """Serializes users as `tf.train.Example`s.

    Args:
        users: one or more.
        ids: `(num_items,)`, the raw id of each item index.
        candidates: the raw ids of each user's candidates.

    Returns:
        `(num_users,)`, the serialized examples, `bytes`.
    """
    examples = np.empty(len(users), object)
    for row, user in enumerate(users):
        example = tf.train.Example()
        feature = example.features.feature
        lists = {protocol.ITEM_IDS: ids[user.items]}
        if candidates is not None:
            lists[protocol.CANDIDATE_ITEM_IDS] = candidates[row]
        for name, item_ids in lists.items():
            feature[name].bytes_list.value.extend(
                item_id.encode() for item_id in item_ids
            )
        feature[protocol.RATINGS].float_list.value.extend(user.ratings)
        examples[row] = example.SerializeToString(deterministic=True)
    return examples


def write_warmup_requests(
    requests: Iterable[Request], version_dir: str
) -> None:
    """Writes the requests that TensorFlow Serving warms a version up with.

    It answers them before it makes a version available, so that no user waits
    for what happens only once; a version that cannot answer them never becomes
    available (https://www.tensorflow.org/tfx/serving/saved_model_warmup).

    Args:
        requests: at most 1000; TensorFlow Serving refuses a version with more.
        version_dir: a SavedModel.
    """
    path = os.path.join(version_dir, _WARMUP_FILE)
    tf.io.gfile.makedirs(os.path.dirname(path))
    with tf.io.TFRecordWriter(path) as writer:
        for name, inputs in requests:
            request = predict_pb2.PredictRequest()
            request.model_spec.signature_name = name
            for tensor_name, value in inputs.items():
                request.inputs[tensor_name].CopyFrom(
                    tf.make_tensor_proto(value)
                )
            log = prediction_log_pb2.PredictionLog(
                predict_log=prediction_log_pb2.PredictLog(request=request)
            )
            writer.write(log.SerializeToString())
