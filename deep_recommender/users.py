"""The ratings of users who are named by id, or who come in a table."""

import itertools
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import tensorflow as tf

from data_prep.dataset.errors import UserError
from data_prep.dataset.records import list_shards, parse_user_ids, parse_users
from data_prep.dataset.schema import SUBSETS
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
        UserError: the data holds no such user.
    """
    wanted = [str(user_id) for user_id in user_ids]
    missing = set(wanted)
    found: dict[str, History] = {}
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


def group_by_user(table: pa.Table) -> dict[str, list[tuple[str, float]]]:
    """Returns the ratings of each user of a table of ratings.

    Args:
        table: `user_id`, `item_id` and `rating`.
    """
    rows = zip(
        *(table[name].to_pylist() for name in ("user_id", "item_id", "rating")),
        strict=True,
    )
    ordered = sorted(rows, key=lambda row: row[0])
    return {
        user_id: [(item_id, rating) for _, item_id, rating in group]
        for user_id, group in itertools.groupby(ordered, lambda row: row[0])
    }
