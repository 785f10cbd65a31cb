"""Exports the signature `recommend` of a model, and makes requests to it."""

import keras
import numpy as np

from data_prep.dataset.items import Items
from export.signatures.signatures import Signatures
from serving import protocol
from serving.local_server.model import Arrays
from trainer.model.rating_model import RatingModel


def name_items(num_items: int) -> list[str]:
    """Returns ids of items."""
    return [f"item {index}" for index in range(num_items)]


def write_version(
    path: str,
    model: RatingModel,
    *,
    num_items: int,
    num_rated: int,
    top_k: int,
    rank_by: str = "score",
) -> None:
    """Writes a SavedModel with the signature `recommend` alone.

    Args:
        path: its directory.
        model: the model.
        num_items: size of the catalog.
        num_rated: ratings that clients pad histories to.
        top_k: items in an answer.
        rank_by: what ranks.
    """
    signatures = Signatures(
        model,
        Items(
            item_ids=name_items(num_items),
            counts=np.ones(num_items, np.int64),
            means=np.full(num_items, 3.5),
            titles=[None] * num_items,
        ),
        rating_scale=(1.0, 5.0),
        top_k=top_k,
        history_length=num_rated,
        rank_by=rank_by,
    )
    archive = keras.export.ExportArchive()
    for table in signatures.tables:
        archive.track(table)
    name = protocol.RECOMMEND
    archive.add_endpoint(
        name, signatures.graph(name), signatures.input_specs[name]
    )
    archive.write_out(path, verbose=False)


def make_requests(
    num_users: int, num_items: int, num_rated: int
) -> list[Arrays]:
    """Makes the inputs of users who rated random items.

    Args:
        num_users: the number of users, one per request.
        num_items: size of the catalog.
        num_rated: ratings of each user.
    """
    generator = np.random.default_rng(2017)
    item_ids = np.array(name_items(num_items), object)
    requests: list[Arrays] = []
    for _ in range(num_users):
        rated = generator.choice(num_items, num_rated, replace=False)
        ratings = generator.integers(1, 6, num_rated).astype(np.float32)
        requests.append(
            {
                protocol.ITEM_IDS: item_ids[np.newaxis, rated],
                protocol.RATINGS: ratings[np.newaxis],
            }
        )
    return requests
