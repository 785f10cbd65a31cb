import dataclasses

import keras
import numpy as np
import pytest

from data_prep.dataset.errors import UserError
from tests.trainer.teachers.synthetic_ratings import generate, to_sparse
from trainer.teachers import ease


def make_ratings():
    ratings, _ = generate(60, 20, lengths=(5, 10), levels=[-2, -1, 0, 1])
    return ratings


def opinions_of(ratings):
    """What the users think of the items: 1, -0.5 or 0, users by items."""
    ordered = np.sort(ratings.values)
    liked_from = ordered[len(ordered) // 2]
    disliked_below = ordered[len(ordered) // 4]
    opinions = np.zeros((ratings.num_users, ratings.num_items))
    users = np.repeat(np.arange(ratings.num_users), np.diff(ratings.starts))
    opinions[users, ratings.items] = (ratings.values >= liked_from) - 0.5 * (
        ratings.values < disliked_below
    )
    return opinions


def test_scores_are_those_of_the_closed_form():
    ratings = make_ratings()
    opinions = opinions_of(ratings)
    assert {-0.5, 0.0, 1.0} == set(opinions.ravel())
    gram = opinions.T @ opinions
    gram += 30 * np.eye(20) + 0.5 * np.diag(np.diag(gram))
    inverse = np.linalg.inv(gram)
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    np.testing.assert_allclose(
        ease.fit(ratings, 30.0, 0.5)(to_sparse(ratings)),
        opinions @ weights,
        atol=1e-5,
    )


def test_an_item_weighs_nothing_in_its_own_score():
    model = ease.fit(make_ratings())
    assert not np.any(np.diag(model.item_weights))


def test_some_items_have_the_scores_of_the_catalog():
    ratings = make_ratings()
    model = ease.fit(ratings)
    history = to_sparse(ratings)
    np.testing.assert_allclose(
        model(history, np.array([4, 0])),
        model(history).numpy()[:, [4, 0]],
        rtol=1e-5,
    )


def test_a_scale_of_the_ratings_does_not_matter():
    ratings = make_ratings()
    scaled = dataclasses.replace(ratings, values=ratings.values * 20)
    np.testing.assert_array_equal(
        ease.fit(scaled)(to_sparse(scaled)),
        ease.fit(ratings)(to_sparse(ratings)),
    )


def test_a_catalog_that_is_too_large_is_refused():
    ratings = dataclasses.replace(make_ratings(), num_items=ease.MAX_ITEMS + 1)
    with pytest.raises(UserError, match="Received: 20001 items"):
        ease.fit(ratings)


def test_a_file_gives_the_model_back(tmp_path):
    ratings = make_ratings()
    model = ease.fit(ratings)
    path = str(tmp_path / "model.keras")
    model.save(path)
    np.testing.assert_array_equal(
        keras.saving.load_model(path)(to_sparse(ratings)),
        model(to_sparse(ratings)),
    )
