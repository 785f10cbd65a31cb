"""The paper's autoencoder in plain PyTorch: dense rows, no project code."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.compare.answers import Answer, Answers
from trainer.compare.fit_data import FitData
from trainer.teachers.training_ratings import TrainingRatings

_HIDDEN_UNITS = (512, 512, 1024)
_BATCH_SIZE = 128
_LEARNING_RATE = 0.005
_MOMENTUM = 0.9
_DROPOUT_RATE = 0.8


def fit_torch_autoencoder(
    data: FitData, seed: int, epochs: Sequence[int]
) -> Iterator[Answer]:
    """Trains the paper's network for Netflix, with dense re-feeding.

    A rating of 0 counts as none, as in the authors' code.

    Reference:
        Kuchaiev and Ginsburg, 2017, sections 2 and 3
        (https://arxiv.org/abs/1708.01715).

    Args:
        data: what to fit.
        seed: seed of weights, dropout and order.
        epochs: numbers of epochs, ascending.

    Yields:
        The model after each of these numbers of epochs.
    """
    import torch

    # It imports PyTorch.
    from benchmarks import torch_network

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    ratings = data.training
    model = torch_network.make_network(
        ratings.num_items, _HIDDEN_UNITS, _DROPOUT_RATE
    )
    update = torch_network.make_update(model, _LEARNING_RATE, _MOMENTUM)

    def predict(dense: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        model.eval()
        with torch.no_grad():
            return model(torch.from_numpy(dense)).numpy()

    def answer(ratings: tf.SparseTensor, rows: tf.Tensor) -> Answers:
        dense = tf.sparse.to_dense(ratings)
        predicted = tf.numpy_function(predict, [dense], tf.float32)
        predicted = tf.ensure_shape(predicted, dense.shape)
        return Answers(predicted, predicted)

    num_epochs = 0
    for end in epochs:
        model.train()
        for _ in range(end - num_epochs):
            users = rng.permutation(ratings.num_users)
            for first in range(0, len(users), _BATCH_SIZE):
                batch = _to_dense(ratings, users[first : first + _BATCH_SIZE])
                outputs, _ = update(torch.from_numpy(batch))
                update(outputs)
        num_epochs = end
        yield answer


def _to_dense(
    ratings: TrainingRatings, users: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Lays out the ratings of some users, `(batch_size, num_items)`."""
    dense = np.zeros((len(users), ratings.num_items), np.float32)
    for row, user in enumerate(users):
        rated = slice(ratings.starts[user], ratings.starts[user + 1])
        dense[row, ratings.items[rated]] = ratings.values[rated]
    return dense
