"""Requests that try every signature."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from export.probe_users import User
from export.signatures.signatures import Signatures
from serving import protocol

Arrays = dict[str, np.ndarray]

# Users in a request of several, and candidates or targets of each.
_NUM_USERS = 4
_NUM_CANDIDATES = 8


class Request(NamedTuple):
    """The name of a signature, and its inputs by name."""

    signature_name: str
    inputs: Arrays


def make_requests(
    signatures: Signatures, item_ids: Sequence[str], users: Sequence[User]
) -> Iterator[Request]:
    """Makes requests for every signature, for one user and for several.

    Args:
        signatures: what to ask.
        item_ids: the raw id of each item index.
        users: who asks: the first one alone, and some together. They should
            be made up, as whoever has the model can read its warm-up requests.
    """
    ids = np.array(item_ids, object)
    for asking in (users[:1], users[:_NUM_USERS]):
        inputs = pad_histories(asking, ids, signatures.history_length)
        candidates = np.resize(ids, (len(asking), _NUM_CANDIDATES))
        inputs[protocol.CANDIDATE_ITEM_IDS] = candidates
        inputs[protocol.TARGET_ITEM_IDS] = candidates
        inputs[protocol.EXAMPLES] = to_examples(asking, ids, candidates)
        for name, specs in signatures.input_specs.items():
            yield Request(
                name, {spec.name: inputs[spec.name] for spec in specs}
            )


def pad_histories(
    users: Sequence[User], ids: np.ndarray, min_length: int = 0
) -> Arrays:
    """Lays histories out as the signatures take them.

    Args:
        users: one or more.
        ids: the raw id of each item index.
        min_length: the length of the rows, if no history is longer.

    Returns:
        The inputs of a history by name.
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
    """Encodes users as the signatures over examples take them.

    Args:
        users: one or more.
        ids: the raw id of each item index.
        candidates: raw ids of candidates, a row a user.

    Returns:
        Serialized `tf.train.Example`s, one a user.
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
