"""The prepared data of a job, as its steps read them."""

import dataclasses

import tensorflow as tf

from data_prep.dataset.items import Items, read_items
from data_prep.dataset.manifest import Manifest, read_manifest
from data_prep.dataset.records import list_shards
from trainer.input.input_pipeline import cold_rating_batches, evaluation_batches
from trainer.input.item_mapping import ItemMapping
from trainer.input.rating_distribution import (
    RatingDistribution,
    read_rating_distribution,
)


@dataclasses.dataclass(frozen=True, eq=False)
class JobData:
    """Prepared data, and how a job reads its held-out ratings.

    Attributes:
        data_dir: their directory.
        batch_size: users per batch.
        manifest: their manifest.
        items: the items, with the statistics of their training ratings.
        shards: the record files.
        distribution: the training ratings.
        mapping: maps other items in the records to `items`; `None` if they
            are the same.
    """

    data_dir: str
    batch_size: int
    manifest: Manifest
    items: Items
    shards: list[str]
    distribution: RatingDistribution
    mapping: ItemMapping | None = None

    @classmethod
    def read(cls, data_dir: str, batch_size: int) -> "JobData":
        """Reads what describes the data, and counts the training ratings.

        Raises:
            UserError: `data_dir` is not prepared data, or lost a shard.
        """
        return cls(
            data_dir,
            batch_size,
            read_manifest(data_dir),
            read_items(data_dir),
            list_shards(data_dir),
            read_rating_distribution(data_dir),
        )

    def for_items(self, items: Items) -> "JobData":
        """Returns the data as a model sees them that knows other items.

        Args:
            items: the items of the model, with the statistics of the ratings
                that it was trained on.
        """
        mapping = ItemMapping(self.items.item_ids, items.item_ids)
        return dataclasses.replace(self, items=items, mapping=mapping)

    @property
    def num_items(self) -> int:
        """Size of the catalog."""
        return len(self.items.item_ids)

    @property
    def steps_per_epoch(self) -> int:
        """Number of full batches."""
        return self.manifest.num_users // self.batch_size

    def held_out(self, group: str) -> tf.data.Dataset:
        """Returns `input_pipeline.evaluation_batches` of a group."""
        return evaluation_batches(
            self.shards,
            self.manifest.num_items,
            self.batch_size,
            group,
            self.mapping,
        )

    def cold(self, group: str) -> tf.data.Dataset:
        """Returns `input_pipeline.cold_rating_batches` of a group."""
        return cold_rating_batches(
            self.shards,
            self.manifest.num_items,
            self.batch_size,
            group,
            self.mapping,
        )
