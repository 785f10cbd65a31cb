"""A sample of what an exported model recommends to a real user."""

import dataclasses

import numpy as np
import tensorflow as tf

from data_prep.dataset.items import read_items
from data_prep.dataset.records import list_shards, parse_user_ids, parse_users
from export.probe_requests import Request, to_examples
from export.probe_users import User
from export.verification import ServedModel
from serving import protocol


@dataclasses.dataclass(frozen=True)
class Sample:
    """A user's ratings and the recommendations for them.

    Attributes:
        user_id: the user's raw id.
        history: titles and the user's training ratings, best first.
        recommendations: titles and predicted ratings, best first.
    """

    user_id: str
    history: list[tuple[str, float]]
    recommendations: list[tuple[str, float]]


def recommend_to_first_user(version_dir: str, data_dir: str) -> Sample:
    """Asks a SavedModel for recommendations to the first user of the data.

    Args:
        version_dir: a published SavedModel.
        data_dir: the prepared data of its job.

    Returns:
        The user's ratings and the recommendations. An item without a title
        has its raw id in its place.
    """
    items = read_items(data_dir)
    title_of_id = dict(zip(items.item_ids, items.display_names(), strict=True))
    user = next(iter(tf.data.TFRecordDataset(list_shards(data_dir)).batch(1)))
    history = parse_users(user, len(items.item_ids), ["train"])["train"]
    item_ids = [items.item_ids[item] for item in history.indices[:, 1]]
    ratings = history.values.numpy()
    example = to_examples(
        [User(history.indices[:, 1].numpy(), ratings)],
        np.array(items.item_ids, object),
    )
    with ServedModel(version_dir) as model:
        # The default signature can be chosen; this one is always there.
        answer = model.answer(
            Request(protocol.RECOMMEND_EXAMPLES, {protocol.EXAMPLES: example})
        )
    return Sample(
        user_id=parse_user_ids(user).numpy()[0].decode(),
        history=[
            (title_of_id[item_ids[position]], float(ratings[position]))
            for position in np.argsort(-ratings, kind="stable")
        ],
        recommendations=[
            (title_of_id[item_id.decode()], float(rating))
            for item_id, rating in zip(
                answer[protocol.ITEM_IDS][0],
                answer[protocol.PREDICTED_RATINGS][0],
                strict=True,
            )
            if item_id
        ],
    )
