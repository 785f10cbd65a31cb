"""What a fitted model answers, and how its answers are measured."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from trainer.evaluation.comparison import compare
from trainer.evaluation.outcomes import Candidates, Measure

#: Name of the model in what measures return, which see one model at a time.
MODEL = "model"


class Answers(NamedTuple):
    """What a model answers for a batch of users.

    Attributes:
        ratings: predicted ratings, `(batch_size, num_items)`; `None` for a
            model that only ranks.
        scores: what ranks items, the higher the better, of the same shape.
    """

    ratings: tf.Tensor | None
    scores: tf.Tensor


#: Maps the training ratings of users, a SparseTensor `(batch_size,
#: num_items)`, and the users' rows in `TrainingRatings`, `(batch_size,)`, to
#: answers. A model that knows users by their ids alone needs the rows.
Answer = Callable[[tf.SparseTensor, tf.Tensor], Answers]


def measure(
    answer: Answer,
    batches: tf.data.Dataset,
    measures: Sequence[Measure],
    has_lists: bool = True,
) -> None:
    """Measures one model, under the name `MODEL`.

    Args:
        answer: the model.
        batches: what `input_pipeline.numbered_evaluation_batches` returns.
        measures: what is measured.
        has_lists: whether it ranks, which takes longer than predicting.
    """

    def candidates(ratings: tf.SparseTensor, rows: tf.Tensor) -> Candidates:
        answers = answer(ratings, rows)
        predicted = {} if answers.ratings is None else {MODEL: answers.ratings}
        ranked = {MODEL: answers.scores} if has_lists else {}
        return Candidates(predicted, ranked, {})

    compare(candidates, batches, measures)
