"""Writes Keras models as single files, each complete or absent."""

import keras
import tensorflow as tf

from data_prep.dataset.files import writing


def save_model(model: keras.Model, path: str, what: str) -> None:
    """Writes a model, local or remote, in the place of an earlier one.

    Args:
        model: the model.
        path: the file, which ends with `.keras`.
        what: what it is, for the message.

    Raises:
        TransientError: a store does not answer.
        UserError: there is no room or no permission to write.
    """
    # Keras tells by the ending what it is to write.
    unfinished = path.replace(".keras", ".tmp.keras")
    with writing(
        f"{what} to {path}",
        "Make room and start the same command again: it goes on from here.",
    ):
        model.save(unfinished)
        tf.io.gfile.rename(unfinished, path, overwrite=True)
