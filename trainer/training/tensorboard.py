"""Writes for TensorBoard what Keras does not: weights, test figures, items.

They are runs of their own below the log directory, `weights` and `best`:
TensorBoard follows one event file per run, and looks for the projector's files
only where it finds one.
"""

import os
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorboard.plugins.projector import EmbeddingInfo, ProjectorConfig
from tensorboard.plugins.projector.metadata import PROJECTOR_FILENAME

from data_prep.dataset.items import Items
from trainer.job.metrics import MODEL
from trainer.model.autoencoder import AutoEncoder
from trainer.model.taught_autoencoder import TaughtAutoEncoder

#: Items in the projector. The browser lays them out.
_MAX_ITEMS = 10_000


class WeightHistograms(keras.callbacks.Callback):
    """Writes histograms of the trained weights after each epoch.

    Teachers are frozen, and left out.

    Args:
        log_dir: TensorBoard's log directory.
    """

    def __init__(self, log_dir: str) -> None:
        super().__init__()
        self._log_dir = os.path.join(log_dir, "weights")

    def on_train_begin(self, logs: Any = None) -> None:
        self._writer = tf.summary.create_file_writer(self._log_dir)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        with self._writer.as_default(epoch):
            for weight in self.model.trainable_variables:
                tf.summary.histogram(weight.path, weight.value)

    def on_train_end(self, logs: Any = None) -> None:
        self._writer.close()


def write_test_scalars(metrics: Mapping[str, Any], log_dir: str) -> None:
    """Writes the errors and the worth of the lists of a finished job.

    Args:
        metrics: the content of `metrics.json`.
        log_dir: TensorBoard's log directory.
    """
    errors = dict(metrics["test"])
    # Over the ratings of cold items, too.
    for name, value in errors.pop("all", {}).items():
        errors[f"all/{name}"] = value
    figures = {
        **{f"errors/{name}": value for name, value in errors.items()},
        **{
            f"lists/{name}": value
            for name, value in metrics["ranking"][MODEL].items()
        },
    }
    writer = tf.summary.create_file_writer(_best_run(log_dir))
    # Keras counts epochs from 0.
    with writer.as_default(metrics["best_epoch"] - 1):
        for name, value in figures.items():
            tf.summary.scalar(name, value)
    writer.close()


def write_projector(
    model: AutoEncoder | TaughtAutoEncoder, items: Items, log_dir: str
) -> None:
    """Writes the vectors and titles of the items for the projector.

    The vector of an item is its row of the output kernel, of the interest if
    there is one: what the signature `similar` compares. At most the first
    10,000 items are written.

    Args:
        model: the trained model.
        items: the items.
        log_dir: TensorBoard's log directory.
    """
    layer = (
        model.interest_layer
        if isinstance(model, TaughtAutoEncoder)
        else model.dense_layers[0]
    )
    vectors = np.asarray(layer.reverse_kernel.value)[:_MAX_ITEMS]
    run_dir = _best_run(log_dir)
    tf.io.gfile.makedirs(run_dir)
    with tf.io.gfile.GFile(os.path.join(run_dir, "vectors.tsv"), "w") as file:
        for vector in vectors:
            file.write("\t".join(f"{value:.5g}" for value in vector) + "\n")
    with tf.io.gfile.GFile(os.path.join(run_dir, "titles.tsv"), "w") as file:
        file.write("title\ttraining ratings\tmean rating\n")
        for title, count, mean, _ in zip(
            items.display_names(),
            items.counts,
            items.means,
            vectors,
            strict=False,
        ):
            # A tab or an end of line would start another cell or row.
            name = " ".join(title.split())
            file.write(f"{name}\t{count}\t{mean:.3f}\n")
    config = ProjectorConfig(
        embeddings=[
            EmbeddingInfo(
                tensor_name="items",
                tensor_path="vectors.tsv",
                metadata_path="titles.tsv",
            )
        ]
    )
    path = os.path.join(run_dir, PROJECTOR_FILENAME)
    with tf.io.gfile.GFile(path, "w") as file:
        file.write(str(config))


def _best_run(log_dir: str) -> str:
    """Returns the directory of the run of the best weights."""
    return os.path.join(log_dir, "best")
