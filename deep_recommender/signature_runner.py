"""Runs the signatures of an exported model in this process, in batches."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from data_prep.dataset.errors import UserError
from export.scoring.tables import Answer
from export.signatures.signatures import Signatures
from serving import protocol
from trainer.job.record import TrainedJob

#: A user's ratings as pairs of item id and rating.
History = Sequence[tuple[str, float]]

# Users per run of the model: the predictions for a million items then take
# half a gigabyte.
_BATCH_SIZE = 128

# Recommendations that are made whenever fewer are asked for, as an export has.
_MIN_TOP_K = 100


class SignatureRunner:
    """Answers with the same functions as a server of the exported model.

    Args:
        job: a trained job.
    """

    def __init__(self, job: TrainedJob) -> None:
        self._job = job
        self._scale = (job.data.rating_min, job.data.rating_max)
        self._top_k = 0
        self._signatures: Signatures | None = None

    def run(
        self,
        name: str,
        histories: Sequence[History],
        columns: Mapping[str, Sequence[str]] | None = None,
        top_k: int = _MIN_TOP_K,
    ) -> Iterator[Answer]:
        """Yields the answers to users, a batch at a time.

        Args:
            name: a signature over histories.
            histories: the users' ratings.
            columns: further inputs by name: lists of item ids that are the
                same for every user.
            top_k: the recommendations wanted.

        Raises:
            UserError: a rating is not on the rating scale.
        """
        graph = self._graph(name, top_k)
        for start in range(0, len(histories), _BATCH_SIZE):
            batch = histories[start : start + _BATCH_SIZE]
            inputs = self._pad(batch)
            for column, item_ids in (columns or {}).items():
                inputs[column] = tf.constant([list(item_ids)] * len(batch))
            yield _to_numpy(graph(**inputs))

    def run_on_items(
        self, name: str, item_ids: Sequence[str], top_k: int
    ) -> Answer:
        """Returns the answer of a signature that takes items alone.

        Args:
            name: a signature over `target_item_ids`.
            item_ids: the items.
            top_k: the items wanted for each.
        """
        graph = self._graph(name, top_k)
        inputs = {protocol.TARGET_ITEM_IDS: tf.constant([list(item_ids)])}
        return _to_numpy(graph(**inputs))

    def _graph(
        self, name: str, top_k: int
    ) -> tf.types.experimental.ConcreteFunction:
        if self._signatures is None or top_k > self._top_k:
            self._top_k = max(top_k, _MIN_TOP_K)
            self._signatures = Signatures(
                self._job.model,
                self._job.items,
                self._scale,
                top_k=self._top_k,
                history_length=1,
                uncertainty=self._job.uncertainty,
            )
        return self._signatures.graph(name)

    def _pad(self, histories: Sequence[History]) -> dict[str, tf.Tensor]:
        length = max(map(len, histories))
        item_ids = np.full((len(histories), length), "", object)
        ratings = np.zeros((len(histories), length), np.float32)
        for row, history in enumerate(histories):
            for column, (item_id, rating) in enumerate(history):
                self._check_rating(item_id, rating)
                item_ids[row, column] = item_id
                ratings[row, column] = rating
        return {
            protocol.ITEM_IDS: tf.constant(item_ids, tf.string),
            protocol.RATINGS: tf.constant(ratings),
        }

    def _check_rating(self, item_id: str, rating: float) -> None:
        low, high = self._scale
        # Written so that NaN is off the scale.
        if not low <= rating <= high:
            raise UserError(
                f"ratings must lie on the scale from {low:g} to {high:g}."
                f" Received: {rating:g} for {item_id!r}"
            )


def _to_numpy(outputs: Mapping[str, tf.Tensor]) -> Answer:
    return {name: tensor.numpy() for name, tensor in outputs.items()}
