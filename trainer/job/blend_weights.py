"""Chooses on validation ratings how a model's answers are mixed."""

import math

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.evaluation.comparison import compare
from trainer.evaluation.outcomes import Candidates
from trainer.evaluation.ranking import Rankings
from trainer.model.taught_autoencoder import TaughtAutoEncoder

#: Weights of the rating in the score that are tried, per standard deviation
#: of the ratings. More brings liked items up and all others down, and one item
#: into the lists of more users.
RATING_WEIGHTS = (0.0, 0.25, 0.5, 1.0)

#: Share of the gain that a smaller weight may cost: with a smaller one lists
#: differ more from person to person, and without one the rating of no item but
#: those recommended is computed.
_TOLERANCE = 0.01


def choose_network_weight(
    model: TaughtAutoEncoder, batches: tf.data.Dataset
) -> float:
    """Sets the weight of the network beside its teacher in predicted ratings.

    The weight of least squared error is known in closed form: with network
    `f`, teacher `t` and `n` held-out ratings `r`, it and its standard error are

        sum((f - t) (r - t)) / sum((f - t)^2)
        sqrt(sum((r - t)^2) / n / sum((f - t)^2))

    The network gets two standard errors less, in [0, 1]: what few ratings
    cannot prove, the teacher answers, who knows no user by heart.

    Args:
        model: a trained model. Without a rating teacher its weight is 1.
        batches: pairs of training and validation ratings of the same users,
            as `input_pipeline.evaluation_batches` makes them.

    Returns:
        The weight, which `model` has from now on.
    """
    if model.rating_teacher is None:
        model.network_weight.assign(1.0)
        return 1.0

    @tf.function(input_signature=[batches.element_spec], autograph=False)
    def add_up(
        batch: tuple[tf.SparseTensor, tf.SparseTensor],
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        ratings, held_out = batch
        answers = model.answer(ratings)
        teacher = tf.gather_nd(answers.teacher, held_out.indices)
        network = tf.gather_nd(answers.network, held_out.indices)
        differences, errors = network - teacher, held_out.values - teacher
        return (
            tf.reduce_sum(differences * errors),
            tf.reduce_sum(differences**2),
            tf.reduce_sum(errors**2),
            tf.cast(tf.size(errors), tf.float32),
        )

    gain, squares, error, count = np.sum(
        [np.array(add_up(batch), float) for batch in batches], axis=0
    )
    weight = 0.0
    if squares > 0:
        standard_error = math.sqrt(error / count / squares)
        weight = float(np.clip(gain / squares - 2 * standard_error, 0, 1))
    model.network_weight.assign(weight)
    return weight


def choose_rating_weight(
    model: TaughtAutoEncoder,
    batches: tf.data.Dataset,
    item_counts: npt.NDArray[np.int64],
    liked_from: float,
) -> float:
    """Sets the weight of the predicted rating in the score that ranks.

    Args:
        model: a trained model, with the `network_weight` that it will have.
        batches: pairs of training and validation ratings of the same users.
        item_counts: training ratings of each item, `(num_items,)`.
        liked_from: the lowest rating of an item that is liked.

    Returns:
        The smallest of `RATING_WEIGHTS` whose mean of NDCG@10 over liked and
        over all held-out items is within 1 % of the highest, which `model`
        has from now on.
    """

    def score_with_each_weight(ratings: tf.SparseTensor) -> Candidates:
        answers = model.answer(ratings)
        return Candidates(
            ratings={},
            scores={
                str(weight): model.score(answers, weight)
                for weight in RATING_WEIGHTS
            },
            deviations={},
        )

    rankings = Rankings(item_counts, liked_from)
    compare(score_with_each_weight, batches, [rankings])
    figures = rankings.result()
    gains = {
        weight: figures[str(weight)]["liked/ndcg@10"]
        + figures[str(weight)]["all/ndcg@10"]
        for weight in RATING_WEIGHTS
    }
    enough = (1 - _TOLERANCE) * max(gains.values())
    weight = min(weight for weight, gain in gains.items() if gain >= enough)
    model.rating_weight.assign(weight)
    return weight
