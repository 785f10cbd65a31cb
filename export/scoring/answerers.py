"""What is written of each user: recommendations, or predicted ratings."""

import abc
import collections
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
from absl import logging

from data_prep.dataset.errors import UserError
from data_prep.dataset.files import digest_files
from export.scoring.exported_model import ExportedModel
from export.scoring.histories import Histories, make_batches, without_ratings
from export.scoring.tables import (
    RECOMMENDATIONS,
    predictions_schema,
    tabulate_predictions,
    tabulate_recommendations,
)
from serving import protocol

# Users per run of the model: the scores of a million items then take a
# gigabyte in each of the record files at work.
_BATCH_SIZE = 256

# Item ids in the padded inputs of a run.
_MAX_CELLS = 1 << 20

# Users without ratings who are answered together.
_USERS_PER_CHUNK = 4096

# Ids that a message names.
_NUM_NAMED = 3


class Answerer(abc.ABC):
    """Answers to users by an exported model.

    Attributes:
        model: the exported model.
        schema: the columns of the answers.
    """

    model: ExportedModel
    schema: pa.Schema

    @abc.abstractmethod
    def describe(self) -> dict[str, Any]:
        """Returns what decides the answers, as JSON has it."""

    @abc.abstractmethod
    def answer(
        self, shard: int, users: Iterator[Histories]
    ) -> Iterator[pa.Table]:
        """Yields the answers to the users of a record file.

        Args:
            shard: the number of the record file.
            users: its users.
        """


class Recommendations(Answerer):
    """Recommends the best items that a user did not rate.

    Args:
        model: the exported model.
        top_k: recommendations per user; a user who rated nearly everything
            gets fewer.
        candidates: ids or titles of the only items to recommend; `None` for
            all that the model knows.
        excluded: ids or titles of items not to recommend.

    Raises:
        UserError: the model does not know any of these items.
    """

    schema = RECOMMENDATIONS

    def __init__(
        self,
        model: ExportedModel,
        top_k: int = 10,
        candidates: Sequence[str] | None = None,
        excluded: Sequence[str] = (),
    ) -> None:
        if top_k < 1:
            raise UserError(f"--top-k must be 1 or more. Received: {top_k}")
        self.model = model
        self._top_k = top_k
        self._excluded = _find_items(model, "--exclude", excluded)
        self._candidates: list[str] | None = None
        if candidates is None:
            return
        found = _find_items(model, "--candidates", candidates)
        self._candidates = sorted(set(found) - set(self._excluded))
        if not self._candidates:
            raise UserError(
                "--candidates and --exclude leave no item to recommend. Give"
                " other candidates, or leave --candidates out."
            )

    def describe(self) -> dict[str, Any]:
        described: dict[str, Any] = {
            "model": self.model.digest,
            "top_k": self._top_k,
        }
        if self._candidates is not None:
            described["candidates"] = _digest(self._candidates)
        elif self._excluded:
            described["excluded"] = _digest(self._excluded)
        return described

    def answer(
        self, shard: int, users: Iterator[Histories]
    ) -> Iterator[pa.Table]:
        for histories in users:
            yield _in_order(
                histories,
                (
                    self._recommend(histories, batch)
                    for batch in make_batches(
                        np.maximum(
                            histories.lengths, len(self._candidates or ())
                        ),
                        _BATCH_SIZE,
                        _MAX_CELLS,
                    )
                ),
            )

    def _recommend(
        self, histories: Histories, batch: npt.NDArray[np.int64]
    ) -> pa.Table:
        inputs = histories.pad(batch)
        if self._candidates is None:
            name = protocol.RECOMMEND_TOP
            inputs[protocol.NUM_RECOMMENDATIONS] = tf.fill(
                [len(batch)], self._top_k + len(self._excluded)
            )
        else:
            name = protocol.RECOMMEND_FROM
            inputs[protocol.CANDIDATE_ITEM_IDS] = tf.tile(
                tf.constant([self._candidates]), [len(batch), 1]
            )
        return tabulate_recommendations(
            [histories.user_ids[user] for user in batch],
            self.model.run(name, inputs),
            self._top_k,
            self._excluded if self._candidates is None else (),
        )


class Predictions(Answerer):
    """Predicts ratings of items that are named for each user.

    A user without ratings gets what the model predicts for a user of whom
    nothing is known.

    Args:
        model: the exported model.
        pairs: the Arrow file of each record file's pairs, local or remote,
            with the columns `user` and `item`.
    """

    def __init__(self, model: ExportedModel, pairs: Sequence[str]) -> None:
        self.model = model
        self.schema = predictions_schema(model.has_deviations)
        self._pairs = pairs

    def describe(self) -> dict[str, Any]:
        return {
            "model": self.model.digest,
            "pairs": _digest(digest_files(self._pairs)),
        }

    def answer(
        self, shard: int, users: Iterator[Histories]
    ) -> Iterator[pa.Table]:
        items = _read_pairs(self._pairs[shard])
        for histories in users:
            rows = [
                row
                for row, user_id in enumerate(histories.user_ids)
                if user_id in items
            ]
            if rows:
                yield self._predict_all(
                    histories.select(np.array(rows, int)), items
                )
        # What is left is of users without ratings.
        unknown = list(items)
        for start in range(0, len(unknown), _USERS_PER_CHUNK):
            chunk = unknown[start : start + _USERS_PER_CHUNK]
            yield self._predict_all(without_ratings(chunk), items)

    def _predict_all(
        self, histories: Histories, items: dict[bytes, list[bytes]]
    ) -> pa.Table:
        candidates = [items.pop(user_id) for user_id in histories.user_ids]
        lengths = np.array([len(each) for each in candidates], int)
        return _in_order(
            histories,
            (
                self._predict(
                    histories, batch, [candidates[user] for user in batch]
                )
                for batch in make_batches(
                    np.maximum(lengths, histories.lengths),
                    _BATCH_SIZE,
                    _MAX_CELLS,
                )
            ),
        )

    def _predict(
        self,
        histories: Histories,
        batch: npt.NDArray[np.int64],
        candidates: list[list[bytes]],
    ) -> pa.Table:
        inputs = histories.pad(batch)
        inputs[protocol.CANDIDATE_ITEM_IDS] = tf.ragged.constant(
            candidates, tf.string
        ).to_tensor("")
        return tabulate_predictions(
            [histories.user_ids[user] for user in batch],
            candidates,
            self.model.run(protocol.PREDICT, inputs),
        )


def check_users(
    model: ExportedModel, item_ids: Sequence[str], scale: tuple[float, float]
) -> None:
    """Checks that a model can answer to the users of prepared data.

    Args:
        model: the exported model.
        item_ids: the items that they rated.
        scale: the lowest and the highest of their ratings.

    Raises:
        UserError: it knows none of the items, or a rating is off its scale.
    """
    low, high = model.rating_scale
    if not low <= scale[0] <= scale[1] <= high:
        raise UserError(
            f"the users' ratings go from {scale[0]:g} to {scale[1]:g}, and"
            f" {model.path} was trained on a scale from {low:g} to {high:g}."
            " Convert the ratings to that scale."
        )
    known = model.know(item_ids)
    unknown = [
        item_id
        for item_id, is_known in zip(item_ids, known, strict=True)
        if not is_known
    ]
    if not any(known):
        raise UserError(
            f"{model.path} knows none of the {len(item_ids):,} items that the"
            f" users rated, such as {_name_some(item_ids)}. Give the ratings"
            " of the items that it was trained on."
        )
    if unknown:
        logging.warning(
            "The model does not know %s of the %s rated items, such as %s."
            " Ratings of them are ignored.",
            f"{len(unknown):,}",
            f"{len(item_ids):,}",
            _name_some(unknown),
        )


def _find_items(
    model: ExportedModel, flag: str, names: Sequence[str]
) -> list[str]:
    """Returns the ids of the named items that the model knows."""
    if not names:
        return []
    found = model.find_ids(names)
    if len(found) < len(names):
        unknown = [
            name
            for name, is_known in zip(names, model.know(names), strict=True)
            if not is_known
        ]
        if not found:
            raise UserError(
                f"{flag}: {model.path} knows none of the {len(names):,} items,"
                f" such as {_name_some(names)}. Give ids or titles of items"
                " that it was trained on."
            )
        if unknown:
            logging.warning(
                "%s: the model does not know %s of the %s items, such as %s.",
                flag,
                f"{len(unknown):,}",
                f"{len(names):,}",
                _name_some(unknown),
            )
    return found


def _read_pairs(path: str) -> dict[bytes, list[bytes]]:
    """Reads the items of each user."""
    items: dict[bytes, list[bytes]] = collections.defaultdict(list)
    with tf.io.gfile.GFile(path, "rb") as file:
        table = pa.ipc.open_file(file.read()).read_all()
    for user, item in zip(
        table["user"].cast(pa.binary()).to_pylist(),
        table["item"].cast(pa.binary()).to_pylist(),
        strict=True,
    ):
        items[user].append(item)
    return items


def _in_order(histories: Histories, tables: Iterator[pa.Table]) -> pa.Table:
    """Joins the answers to batches of users, in the order of the users."""
    table = pa.concat_tables(tables)
    users = pa.array(histories.user_ids, pa.string())
    places = pc.index_in(table["user_id"], value_set=users).to_numpy()
    return table.take(np.argsort(places, kind="stable"))


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _name_some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_NUM_NAMED]))
