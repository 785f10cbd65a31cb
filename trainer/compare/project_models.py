"""This project's recipes, teachers and baselines."""

from collections.abc import Iterator, Sequence

import tensorflow as tf

from trainer.compare.answers import Answer, Answers
from trainer.compare.fit_data import FitData
from trainer.evaluation.baselines import Biases, Popularity
from trainer.job.fitted_teachers import fit_rating_teacher
from trainer.job.paths import JobPaths
from trainer.model.rating_model import RatingModel
from trainer.model.taught_autoencoder import TaughtAutoEncoder
from trainer.recipes import make_config
from trainer.teachers import ease
from trainer.training.distribution import create_strategy
from trainer.training.train import train


def fit_recipe(
    data: FitData, seed: int, epochs: Sequence[int], recipe: str
) -> Iterator[Answer]:
    """Trains an ordinary job, which goes on where it was stopped.

    Args:
        data: what to fit.
        seed: seed of the job.
        epochs: not used: the recipe and the validation ratings decide.
        recipe: a key of `recipes.RECIPES`.

    Yields:
        The model.
    """
    manifest = data.job_data.manifest
    config = make_config(
        recipe, {"seed": seed}, manifest.num_users, manifest.num_items
    )
    # The platform's paths are those of one job, and there are many.
    paths = JobPaths.resolve(data.work_dir, environ={})
    model = train(config, data.data_dir, paths, create_strategy())
    if not isinstance(model, TaughtAutoEncoder):
        yield _rank_by_rating(model)
        return

    def answer(ratings: tf.SparseTensor, rows: tf.Tensor) -> Answers:
        answers = model.answer(ratings)
        return Answers(
            model.blend(answers.network, answers.teacher), model.score(answers)
        )

    yield answer


def fit_factorization(
    data: FitData, seed: int, epochs: Sequence[int], recipe: str
) -> Iterator[Answer]:
    """Fits the rating teacher of a recipe.

    Args:
        data: what to fit.
        seed: seed of the sampler.
        epochs: not used.
        recipe: a key of `recipes.RECIPES`.

    Yields:
        The teacher.
    """
    config = make_config(recipe, {"seed": seed}, data.training.num_users)
    yield _rank_by_rating(
        fit_rating_teacher(config, data.job_data, data.training)
    )


def fit_ease(
    data: FitData, seed: int, epochs: Sequence[int], **penalties: float
) -> Iterator[Answer]:
    """Fits EASE.

    Args:
        data: what to fit.
        seed: not used.
        epochs: not used.
        **penalties: `penalty` and `diagonal_penalty` of `ease.fit`.

    Yields:
        The model.
    """
    model = ease.fit(data.training, **penalties)
    yield lambda ratings, rows: Answers(None, model(ratings))


def fit_biases(
    data: FitData, seed: int, epochs: Sequence[int], **damping: float
) -> Iterator[Answer]:
    """Finds the biases of items.

    Args:
        data: what to fit.
        seed: not used.
        epochs: not used.
        **damping: `item_damping` and `user_damping` of `RatingCentering`.

    Yields:
        The model.
    """
    yield _rank_by_rating(
        Biases(data.items.counts, data.items.means, "user_item", **damping)
    )


def fit_popularity(
    data: FitData, seed: int, epochs: Sequence[int]
) -> Iterator[Answer]:
    """Counts the ratings of items.

    Args:
        data: what to fit.
        seed: not used.
        epochs: not used.

    Yields:
        The model.
    """
    popularity = Popularity(data.items.counts)
    yield lambda ratings, rows: Answers(None, popularity(ratings))


def _rank_by_rating(model: RatingModel) -> Answer:
    def answer(ratings: tf.SparseTensor, rows: tf.Tensor) -> Answers:
        predicted = model(ratings)
        return Answers(predicted, predicted)

    return answer
