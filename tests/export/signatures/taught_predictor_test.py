import functools

import numpy as np
import pytest
import tensorflow as tf

from data_prep.dataset.errors import UserError
from export.signatures.explanations import NUM_REASONS
from tests.export.helpers import (
    ask,
    leave_one_out,
    make_signatures,
    make_taught_model,
    model_predictions,
    to_sparse,
)
from trainer.model.autoencoder import AutoEncoder
from trainer.model.taught_autoencoder import TaughtAutoEncoder

pytestmark = pytest.mark.integration

ITEM_IDS = [f"item-{index}" for index in range(12)]
HISTORIES = [
    [("item-7", 5.0), ("item-0", 0.0), ("item-3", 4.0)],
    [],
    [("item-11", 1.0)],
    [(item_id, float(place % 6)) for place, item_id in enumerate(ITEM_IDS[:9])],
]

#: What ranks -> what the Keras model says of it.
SCORES = {
    "score": lambda model, ratings: model.score(model.answer(ratings)),
    "rating": lambda model, ratings: model(ratings),
    "interest": lambda model, ratings: model.answer(ratings).interest,
}

#: Name -> arguments of a model.
MODELS = {
    "classes": {"is_ordinal": True, "network_weight": 0.4},
    "real": {"is_ordinal": False, "network_weight": 0.4},
    "encoders_alone": {"network_weight": 0.0},
    "network_alone": {"network_weight": 1.0},
    "interest": {"rating_weight": 0.0},
}


@pytest.fixture(params=MODELS)
def model(request):
    return make_taught_model(len(ITEM_IDS), **MODELS[request.param])


@pytest.fixture(
    params=[
        ("classes", "score"),
        ("interest", "score"),
        ("real", "rating"),
        *(
            pytest.param(pair, marks=pytest.mark.extended)
            for pair in (
                ("encoders_alone", "score"),
                ("network_alone", "score"),
                ("classes", "interest"),
                ("real", "score"),
                ("classes", "rating"),
                ("encoders_alone", "rating"),
                ("network_alone", "rating"),
            )
        ),
    ],
    ids=" by ".join,
)
def ranked_model(request):
    """A model, what it ranks by, and its scores of ratings."""
    name, rank_by = request.param
    model = make_taught_model(len(ITEM_IDS), **MODELS[name])
    return model, rank_by, functools.partial(SCORES[rank_by], model)


def test_recommendations_are_the_model_s_highest_scores(ranked_model):
    model, rank_by, score = ranked_model
    signatures = make_signatures(model, ITEM_IDS, rank_by=rank_by)
    answer = ask(signatures.recommend, HISTORIES)
    for row, history in enumerate(HISTORIES):
        scores = model_predictions(score, ITEM_IDS, history)
        ratings = model_predictions(model, ITEM_IDS, history)
        scores[[ITEM_IDS.index(item_id) for item_id, _ in history]] = -np.inf
        order = np.argsort(-scores)[: min(4, len(ITEM_IDS) - len(history))]
        found = answer["item_ids"][row, : len(order)].astype(str).tolist()
        assert found == [ITEM_IDS[index] for index in order]
        for name, values in (
            ("scores", scores),
            ("predicted_ratings", ratings),
        ):
            np.testing.assert_allclose(
                answer[name][row, : len(order)], values[order], atol=1e-5
            )
            assert not answer[name][row, len(order) :].any()


def test_candidates_are_ranked_by_the_same_scores(ranked_model):
    model, rank_by, _ = ranked_model
    signatures = make_signatures(model, ITEM_IDS, top_k=12, rank_by=rank_by)
    answer = ask(
        signatures.recommend_from,
        HISTORIES,
        candidate_item_ids=[ITEM_IDS[::-1]] * len(HISTORIES),
    )
    expected = ask(signatures.recommend, HISTORIES)
    assert answer["item_ids"].tolist() == expected["item_ids"].tolist()
    for name in ("scores", "predicted_ratings"):
        np.testing.assert_allclose(answer[name], expected[name], atol=1e-6)


def test_what_ranks_makes_other_rankings():
    model = make_taught_model(len(ITEM_IDS))
    rankings = [
        ask(
            make_signatures(model, ITEM_IDS, rank_by=rank_by).recommend,
            HISTORIES,
        )["item_ids"].tolist()
        for rank_by in SCORES
    ]
    assert rankings[0] != rankings[1] != rankings[2] != rankings[0]


def test_predicted_ratings_are_the_model_s(model):
    signatures = make_signatures(model, ITEM_IDS)
    candidates = [["item-4", "item-3", "item-4", "unheard of"]] * 4
    answer = ask(signatures.predict, HISTORIES, candidate_item_ids=candidates)
    for row, history in enumerate(HISTORIES):
        expected = model_predictions(model, ITEM_IDS, history)
        # All items have the mean 3, and a user starts with 10 ratings at it.
        offset = sum(rating - 3 for _, rating in history) / (len(history) + 10)
        np.testing.assert_allclose(
            answer["predicted_ratings"][row],
            [*expected[[4, 3, 4]], 3 + offset],
            atol=1e-5,
        )
    assert answer["candidate_known"].tolist() == [[True, True, True, False]] * 4


def test_codes_are_the_network_s(model):
    answer = ask(make_signatures(model, ITEM_IDS).encode, HISTORIES)
    for row, history in enumerate(HISTORIES):
        centered, _ = model.centering(to_sparse(ITEM_IDS, history))
        np.testing.assert_allclose(
            answer["code"][row], model.encode(centered)[0], atol=1e-5
        )


def test_contributions_are_those_of_leaving_each_rating_out(ranked_model):
    model, rank_by, score = ranked_model
    signatures = make_signatures(model, ITEM_IDS, rank_by=rank_by)
    # The second target of the first user is rated itself.
    targets = ["item-9", "item-3"]
    answer = ask(
        tf.function(signatures.explain, autograph=False),
        HISTORIES,
        target_item_ids=[targets] * 4,
    )
    for row, history in enumerate(HISTORIES):
        contributions = leave_one_out(score, ITEM_IDS, history)
        for column, target in enumerate((9, 3)):
            of_each = {
                item_id.encode(): contribution
                for (item_id, _), contribution in zip(
                    history, contributions[:, target], strict=True
                )
            }
            strongest = sorted(of_each.values(), key=abs, reverse=True)
            num_reasons = min(len(history), NUM_REASONS)
            reasons = answer["reason_item_ids"][row, column].tolist()
            np.testing.assert_allclose(
                answer["contributions"][row, column, :num_reasons],
                strongest[:num_reasons],
                atol=1e-5,
            )
            np.testing.assert_allclose(
                [of_each[reason] for reason in reasons[:num_reasons]],
                strongest[:num_reasons],
                atol=1e-5,
            )
            assert reasons[num_reasons:] == [b""] * (NUM_REASONS - num_reasons)


@pytest.mark.slow
def test_a_history_longer_than_a_chunk_is_explained_whole():
    item_ids = [f"item-{index}" for index in range(160)]
    model = make_taught_model(len(item_ids))
    history = [
        (item_id, float(place % 6))
        for place, item_id in enumerate(item_ids[:150])
    ]
    answer = ask(
        tf.function(make_signatures(model, item_ids).explain, autograph=False),
        [history],
        target_item_ids=[["item-155"]],
    )
    contributions = leave_one_out(
        functools.partial(SCORES["score"], model), item_ids, history
    )[:, 155]
    np.testing.assert_allclose(
        np.abs(answer["contributions"][0, 0]),
        np.sort(np.abs(contributions))[::-1][:NUM_REASONS],
        atol=1e-5,
    )


def test_similar_items_have_similar_rows_of_the_kernel_of_interest(model):
    rows = model.interest_layer.reverse_kernel.numpy().astype(float)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = rows @ rows[3]
    cosines[3] = -np.inf
    answer = make_signatures(model, ITEM_IDS).similar(tf.constant([["item-3"]]))
    order = np.argsort(-cosines)[:4]
    assert answer["similar_item_ids"].numpy()[0, 0].astype(str).tolist() == [
        ITEM_IDS[index] for index in order
    ]
    np.testing.assert_allclose(
        answer["similarities"][0, 0], cosines[order], rtol=1e-5
    )


def test_a_model_without_teachers_is_served_too():
    model = TaughtAutoEncoder(len(ITEM_IDS), hidden_units=(6, 4))
    model.rating_weight.assign(0.5)
    # It has no effect without a teacher.
    model.network_weight.assign(0.0)
    answer = ask(make_signatures(model, ITEM_IDS).recommend, [HISTORIES[1]])
    scores = model_predictions(
        functools.partial(SCORES["score"], model), ITEM_IDS, []
    )
    np.testing.assert_allclose(
        answer["scores"][0], np.sort(scores)[::-1][:4], atol=1e-5
    )


def test_a_model_without_interest_cannot_rank_by_it():
    model = AutoEncoder(len(ITEM_IDS), hidden_units=(6, 4))
    with pytest.raises(
        UserError, match=r"must be score or rating .* rank_by='interest'"
    ):
        make_signatures(model, ITEM_IDS, rank_by="interest")


@pytest.mark.parametrize("rank_by", ["score", "rating"])
def test_an_autoencoder_s_scores_are_its_predictions_not_clipped(rank_by):
    model = AutoEncoder(len(ITEM_IDS), hidden_units=(6, 4))
    signatures = make_signatures(
        model,
        ITEM_IDS,
        rank_by=rank_by,
        rating_scale=(0.0, 0.1),
        clip_predictions=True,
    )
    answer = ask(signatures.recommend, [[("item-1", 0.1)]])
    expected = model_predictions(model, ITEM_IDS, [("item-1", 0.1)])
    found = [ITEM_IDS.index(id.decode()) for id in answer["item_ids"][0]]
    np.testing.assert_allclose(answer["scores"][0], expected[found], atol=1e-6)
    np.testing.assert_allclose(
        answer["predicted_ratings"][0],
        np.clip(expected[found], 0, 0.1),
        atol=1e-6,
    )
