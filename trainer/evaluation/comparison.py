"""Compares models on held-out ratings, all of them in one pass."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.evaluation.outcomes import Candidates, Measure, Outcomes
from trainer.evaluation.ranking import rank_unrated


def compare(
    answer: Callable[..., Candidates],
    batches: tf.data.Dataset,
    measures: Sequence[Measure],
) -> None:
    """Lets all candidates answer, and each measure add up what they answer.

    Args:
        answer: maps training ratings, and what else follows in a batch, to
            the candidates. It is traced once.
        batches: pairs of training and held-out ratings, SparseTensors
            `(batch_size, num_items)`, such as
            `input_pipeline.evaluation_batches` returns; or triples with the
            users' rows, of `input_pipeline.numbered_evaluation_batches`.
        measures: what is measured. Each is updated once per batch.

    Reference:
        Kuchaiev and Ginsburg, 2017, section 3: the input is the user's
        training ratings (https://arxiv.org/abs/1708.01715).
    """

    @tf.function(input_signature=[batches.element_spec], autograph=False)
    def predict_and_rank(
        batch: tuple[Any, ...],
    ) -> tuple[dict[str, tf.Tensor], ...]:
        ratings, held_out, *rows = batch
        candidates = answer(ratings, *rows)
        predictions, deviations = (
            {
                name: tf.gather_nd(values, held_out.indices)
                for name, values in by_name.items()
            }
            for by_name in (candidates.ratings, candidates.deviations)
        )
        ranked = {
            name: rank_unrated(scores, ratings)
            for name, scores in candidates.scores.items()
        }
        return predictions, ranked, deviations

    for batch in batches:
        predictions, ranked, deviations = (
            {name: tensor.numpy() for name, tensor in by_name.items()}
            for by_name in predict_and_rank(batch)
        )
        history, held_out, *_ = batch
        outcomes = Outcomes(
            history_lengths=np.bincount(
                history.indices.numpy()[:, 0],
                minlength=int(history.dense_shape[0]),
            ),
            held_out=held_out.indices.numpy(),
            ratings=held_out.values.numpy(),
            predictions=predictions,
            ranked=ranked,
            deviations=deviations,
        )
        for measure in measures:
            measure.update(outcomes)
