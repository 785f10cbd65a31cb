"""The ratings of users who are named by id, or who come in a table."""

import collections
import tempfile
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import tensorflow as tf

from data_prep.dataset.errors import UserError
from data_prep.dataset.records import list_shards, parse_user_ids, parse_users
from data_prep.dataset.schema import SUBSETS
from data_prep.readers.reading import Reading
from data_prep.rules.ids import to_ids
from data_prep.rules.rejects import Rejects
from data_prep.sources.tables import make_table_source
from deep_recommender.signature_runner import History

# Users that are parsed together.
_BATCH_SIZE = 1024


def read_users(
    data_dir: str, user_ids: Iterable[Any], item_ids: list[str]
) -> dict[str, History]:
    """Reads all ratings of some users of the prepared data.

    Held-out ratings are part of it: what is known of a user is known when
    they are served.

    Args:
        data_dir: the prepared data.
        user_ids: the raw ids.
        item_ids: the raw id of each item index.

    Returns:
        The history of each user by id, in the order of `user_ids`.

    Raises:
        UserError: the data holds no such user, or what is given are no ids.
    """
    wanted = _to_texts(list(user_ids))
    missing = set(wanted)
    found: dict[str, list[tuple[str, float]]] = {}
    for batch in tf.data.TFRecordDataset(list_shards(data_dir)).batch(
        _BATCH_SIZE
    ):
        ids = [user_id.decode() for user_id in parse_user_ids(batch).numpy()]
        rows = [row for row, user_id in enumerate(ids) if user_id in missing]
        if not rows:
            continue
        some = tf.gather(batch, rows)
        subsets = parse_users(some, len(item_ids), list(SUBSETS))
        for row in rows:
            found[ids[row]] = []
        for ratings in subsets.values():
            for (place, item), value in zip(
                ratings.indices.numpy().tolist(),
                ratings.values.numpy().tolist(),
                strict=True,
            ):
                found[ids[rows[place]]].append((item_ids[item], value))
        missing.difference_update(found)
        if not missing:
            break
    if missing:
        some_ids = ", ".join(sorted(missing)[:5])
        raise UserError(
            f"{len(missing)} of {len(wanted)} users are not in {data_dir}:"
            f" {some_ids}. Give their ratings as a table instead."
        )
    return {user_id: found[user_id] for user_id in wanted}


def _to_texts(user_ids: list[Any]) -> list[str]:
    """Applies the rule of ids, by which 7, 7.0 and "7" are the same user."""
    try:
        texts = to_ids(pa.array(user_ids)).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowTypeError, UserError):
        texts = [None]
    if None in texts:
        raise UserError(
            "user ids must be all numbers or all strings. Received:"
            f" {str(user_ids)[:100]}"
        )
    return texts


def is_table(value: Any) -> bool:
    """Says whether a value is a table of several columns, not a list of ids."""
    return hasattr(value, "columns") or hasattr(value, "column_names")


def read_table(table: Any) -> dict[str, list[tuple[str, float]]]:
    """Reads the ratings of each user of a table.

    Args:
        table: as `make_table_source` takes it, its columns recognized by
            their usual names.

    Returns:
        User id -> pairs of item id and rating, the users sorted by id.

    Raises:
        UserError: the columns are not recognized, or a row is invalid.
    """
    rejects = Rejects()
    histories: dict[str, list[tuple[str, float]]] = collections.defaultdict(
        list
    )
    with tempfile.TemporaryDirectory() as temp_dir:
        for part in make_table_source(table).read(Reading(temp_dir, rejects)):
            rows = part()
            for user_id, item_id, rating in zip(
                rows["user_id"].cast(pa.string()).to_pylist(),
                rows["item_id"].cast(pa.string()).to_pylist(),
                rows["rating"].to_pylist(),
                strict=True,
            ):
                histories[user_id].append((item_id, rating))
    for rejected in rejects.first:
        raise UserError(f"{rejected.message}. Leave such rows out.")
    return dict(sorted(histories.items()))
