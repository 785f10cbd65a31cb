"""What the signatures ask of a trained model, whatever its kind."""

import abc
from typing import Generic, TypeVar

import tensorflow as tf

#: What a predictor knows of a batch of users once it has read their ratings.
Reading = TypeVar("Reading")


class Predictor(abc.ABC, Generic[Reading]):
    """Answers like a trained model, for a few users at a time.

    Training computes many users at once, serving few. So a predictor differs
    from its model in two places:

    - The first layer multiplies the ratings without a gradient, which a
      SavedModel cannot hold.
    - The kernel that computes the scores of the whole catalog is stored with a
      column per item. The product for one user takes as long as reading that
      kernel, and TensorFlow reads a kernel of rows on one core, a kernel of
      columns on all.

    Both compute in float32, the type of the weights, even for a model whose
    hidden layers compute in half precision. Weights are copied as they are
    when the predictor is made.

    Attributes:
        num_items: size of the catalog.
        ranks_by: what the scores are, a phrase.
        is_scored_by_rating: whether the scores are the predicted ratings.
        vectors_from: the kernel that `read_item_vectors` returns, a phrase.
    """

    num_items: int
    ranks_by: str
    is_scored_by_rating: bool
    vectors_from: str

    @abc.abstractmethod
    def read(self, ratings: tf.SparseTensor) -> Reading:
        """Reads users, for `score` and `predict`.

        Args:
            ratings: SparseTensor `(batch_size, num_items)`, float32, its
                indices in order.
        """

    @abc.abstractmethod
    def score(self, users: Reading) -> tf.Tensor:
        """Computes what ranks the items of the catalog for each user.

        Args:
            users: as `read` returned them.

        Returns:
            `(batch_size, num_items)`, float32, the higher the better.
        """

    @abc.abstractmethod
    def predict(self, users: Reading, items: tf.Tensor) -> tf.Tensor:
        """Predicts each user's ratings of their own list of items.

        Args:
            users: as `read` returned them.
            items: `(batch_size, num_asked)`, item indices.

        Returns:
            `(batch_size, num_asked)`, float32, not clipped.
        """

    def predict_ranked(
        self, users: Reading, items: tf.Tensor, scores: tf.Tensor
    ) -> tf.Tensor:
        """Predicts like `predict`, where the scores of the items are at hand.

        Args:
            users: as `read` returned them.
            items: `(batch_size, num_asked)`, item indices.
            scores: of that shape, what `score` returned of these items.

        Returns:
            `(batch_size, num_asked)`, float32, not clipped.
        """
        return self.predict(users, items)

    @abc.abstractmethod
    def encode(self, ratings: tf.SparseTensor) -> tf.Tensor:
        """Computes the code of each user.

        Args:
            ratings: as for `read`.

        Returns:
            `(batch_size, code_units)`.
        """

    @abc.abstractmethod
    def leave_each_out(
        self, items: tf.Tensor, ratings: tf.Tensor, targets: tf.Tensor
    ) -> tf.Tensor:
        """Measures what each rating of one user adds to scores.

        Args:
            items: `(num_ratings,)`, int64, ascending, the items that the user
                rated.
            ratings: `(num_ratings,)`, float32, their ratings.
            targets: `(num_targets,)`, int64, the items whose scores are meant.

        Returns:
            `(num_ratings, num_targets)`: the score for the whole history minus
            the score for the history without that rating.
        """

    @abc.abstractmethod
    def read_item_vectors(self) -> tf.Tensor:
        """Returns the vectors of the items, float32 `(units, num_items)`.

        Scores are products of these columns and a user's last hidden layer,
        plus biases (and an activation, if the layer has one).
        """
