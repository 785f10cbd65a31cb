import numpy as np
import pytest
import tensorflow as tf

from tests.trainer.evaluation.outcomes import random_outcomes, split_batches
from tests.trainer.model.taught_autoencoder_test import to_sparse
from trainer.report.people import ExtremeUsers, recommend_to_people


def test_the_users_of_lowest_and_highest_error_are_kept():
    outcomes = random_outcomes(num_users=40)
    extremes = ExtremeUsers("bad")
    for batch in split_batches(outcomes, 17):
        extremes.update(batch)
    squares = (outcomes.predictions["bad"] - outcomes.ratings) ** 2
    errors = sorted(
        np.sqrt(squares[outcomes.users == user].astype(float).mean())
        for user in range(40)
        if np.sum(outcomes.users == user) >= 10
    )
    assert [user.rmse for user in extremes.best] == pytest.approx(errors[:3])
    assert [user.rmse for user in extremes.worst] == pytest.approx(
        errors[:-4:-1]
    )


def test_a_kept_user_has_their_own_ratings_and_predictions():
    outcomes = random_outcomes(num_users=40)
    extremes = ExtremeUsers("bad")
    extremes.update(outcomes)
    for user in (*extremes.best, *extremes.worst):
        errors = user.predictions - user.ratings
        assert user.rmse == pytest.approx(
            np.sqrt(np.mean(errors.astype(float) ** 2))
        )
        assert len(user.items) >= 10


@pytest.fixture
def people():
    """Recommends by `ratings @ weights` to three users of 4 ratings each."""
    ratings = np.array([[5, 1, 3, 2, 0, 0]] * 3, np.float32)
    rated = np.arange(6) < np.full((3, 1), 4)
    later = to_sparse(
        np.array([[0, 0, 0, 0, 5, 1]] * 3, np.float32),
        np.array([[False] * 4 + [True, True]] * 3),
    )
    weights = np.zeros((6, 6), np.float32)
    weights[0, 4], weights[2, 4], weights[3, 4] = 1, 4, -2
    weights[1, 5] = 2
    return recommend_to_people(
        lambda shown: tf.sparse.sparse_dense_matmul(shown, weights),
        tf.data.Dataset.from_tensors((to_sparse(ratings, rated), later)),
        liked_from=4,
    )


def test_a_list_is_ranked_by_the_score_without_what_was_rated(people):
    assert len(people) == 3
    for person in people:
        # Scores of 5 + 12 - 4 and of 2.
        assert [row.item for row in person.recommendations] == [4, 5]


def test_reasons_are_the_ratings_that_raise_the_score_most(people):
    first, second = people[0].recommendations
    assert first.reasons == [2, 0]
    assert second.reasons == [1]


def test_what_a_user_rated_later_is_told(people):
    first, second = people[0].recommendations
    assert first.is_liked is True
    assert second.is_liked is False


def test_a_history_is_shown_from_the_highest_rating_on(people):
    assert people[0].history == [(0, 5), (2, 3), (3, 2), (1, 1)]
