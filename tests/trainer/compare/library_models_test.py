"""What the wrappers answer is what the libraries answer."""

import numpy as np
import pytest
import tensorflow as tf

from trainer.compare.fit_data import FitData
from trainer.compare.models import MODELS


@pytest.fixture(scope="module")
def data(tmp_path_factory, synthetic_data):
    return FitData(synthetic_data, str(tmp_path_factory.mktemp("work")))


def answer_all(answer, data):
    """Predicts everything for every user, from all training ratings."""
    training = data.training
    users = np.repeat(np.arange(training.num_users), np.diff(training.starts))
    ratings = tf.SparseTensor(
        np.stack([users, training.items], axis=1).astype(np.int64),
        training.values,
        [training.num_users, training.num_items],
    )
    return answer(ratings, tf.range(training.num_users)).ratings.numpy()


def collect(monkeypatch, library_class):
    """Collects the models of a library that are fitted from now on."""
    fitted = []
    fit = library_class.fit

    def fit_and_collect(self, *arguments, **keywords):
        fitted.append(self)
        return fit(self, *arguments, **keywords)

    monkeypatch.setattr(library_class, "fit", fit_and_collect)
    return fitted


def test_matrix_factorization_answers_as_cornac(data, monkeypatch):
    cornac = pytest.importorskip("cornac.models")
    fitted = collect(monkeypatch, cornac.MF)
    (answer,) = MODELS["mf"].fit(data, 3, (7,), k=4, lambda_reg=0.05)
    predicted = answer_all(answer, data)
    for user in (0, 57, 199):
        np.testing.assert_allclose(
            predicted[user], fitted[0].score(user), rtol=1e-4
        )


def test_matrix_factorization_goes_on_as_if_it_had_not_paused(data):
    pytest.importorskip("cornac")
    settings = {"k": 4, "lambda_reg": 0.05}
    whole = list(MODELS["mf"].fit(data, 3, (10,), **settings))
    parts = list(MODELS["mf"].fit(data, 3, (4, 10), **settings))
    np.testing.assert_array_equal(
        answer_all(parts[1], data), answer_all(whole[0], data)
    )
    # An earlier stage keeps its own factors.
    assert not np.array_equal(
        answer_all(parts[0], data), answer_all(parts[1], data)
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "library_class", "settings"),
    [
        ("item-knn", "KNNBaseline", {"k": 5, "shrinkage": 30}),
        (
            "svdpp",
            "SVDpp",
            {"n_factors": 3, "reg_all": 0.02, "n_epochs": 4},
        ),
    ],
)
def test_a_model_answers_as_surprise(
    name, library_class, settings, data, monkeypatch
):
    surprise = pytest.importorskip("surprise")
    fitted = collect(monkeypatch, getattr(surprise, library_class))
    (answer,) = MODELS[name].fit(data, 3, (0,), **settings)
    predicted = answer_all(answer, data)
    for user in (0, 57, 199):
        for item in range(data.training.num_items):
            expected = fitted[0].estimate(user, item)
            if isinstance(expected, tuple):
                expected = expected[0]
            assert predicted[user, item] == pytest.approx(expected, abs=1e-3)
