import numpy as np
import pytest
import tensorflow as tf

from export.signatures import Signatures
from trainer.autoencoder import AutoEncoder

ITEM_IDS = ["alien", "brazil", "cube", "été", "fargo"]
UNKNOWN = "unheard of"


@pytest.fixture(scope="module")
def model():
    model = AutoEncoder(
        len(ITEM_IDS), hidden_units=(4, 3), centring="user_item"
    )
    model.centring.set_statistics(
        np.array([9, 8, 7, 6, 5]), np.array([4.0, 3.0, 2.0, 3.5, 1.0])
    )
    return model


@pytest.fixture(scope="module")
def signatures(model):
    return Signatures(
        model, ITEM_IDS, rating_scale=(0.0, 5.0), mean_rating=3.25, top_k=4
    )


def ask(function, histories, **others):
    """Calls a signature with histories padded to one length."""
    length = max(len(history) for history in histories)
    padded = [
        [*history, *[("", 0.0)] * (length - len(history))]
        for history in histories
    ]
    shape = (len(histories), length)
    answer = function(
        item_ids=tf.constant(
            [[item_id for item_id, _ in row] for row in padded],
            tf.string,
            shape,
        ),
        ratings=tf.constant(
            [[rating for _, rating in row] for row in padded],
            tf.float32,
            shape,
        ),
        **{name: tf.constant(value) for name, value in others.items()},
    )
    return {name: tensor.numpy() for name, tensor in answer.items()}


def model_predictions(model, history):
    """What the Keras model says of one history of known items."""
    indices = sorted((ITEM_IDS.index(item), rating) for item, rating in history)
    ratings = tf.SparseTensor(
        np.array([[0, index] for index, _ in indices]).reshape(-1, 2),
        [np.float32(rating) for _, rating in indices] or np.zeros(0, "f"),
        (1, len(ITEM_IDS)),
    )
    return model(ratings).numpy()[0]


def test_recommendations_are_the_unrated_items_best_first(model, signatures):
    history = [("cube", 4.0), ("alien", 0.0)]
    answer = ask(signatures.recommend, [history])
    expected = model_predictions(model, history)
    unrated = [1, 3, 4]
    ranked = sorted(unrated, key=lambda index: -expected[index])
    assert [id.decode() for id in answer["item_ids"][0][:3]] == [
        ITEM_IDS[index] for index in ranked
    ]
    np.testing.assert_allclose(
        answer["predicted_ratings"][0][:3], expected[ranked], rtol=1e-5
    )


def test_a_user_with_few_items_left_gets_empty_ids_at_the_end(signatures):
    history = [(item_id, 3.0) for item_id in ITEM_IDS[:4]]
    answer = ask(signatures.recommend, [history])
    assert answer["item_ids"][0].tolist() == [b"fargo", b"", b"", b""]
    assert np.isfinite(answer["predicted_ratings"]).all()


def test_predictions_are_the_model_s_for_rated_and_unrated_candidates(
    model, signatures
):
    history = [("brazil", 5.0), ("fargo", 1.0)]
    answer = ask(
        signatures.predict,
        [history],
        candidate_item_ids=[["fargo", "alien", "été"]],
    )
    expected = model_predictions(model, history)[[4, 0, 3]]
    np.testing.assert_allclose(
        answer["predicted_ratings"][0], expected, rtol=1e-5
    )
    assert answer["candidate_known"].all()


def test_an_unknown_candidate_gets_the_mean_rating_and_is_marked(signatures):
    answer = ask(
        signatures.predict,
        [[("alien", 3.0)]],
        candidate_item_ids=[[UNKNOWN, "", "cube"]],
    )
    assert answer["candidate_known"].tolist() == [[False, False, True]]
    assert answer["predicted_ratings"][0, :2].tolist() == [3.25, 3.25]


def test_the_code_is_the_encoder_s(model, signatures):
    answer = ask(signatures.encode, [[("alien", 4.0)]])
    centred, _ = model.centring(tf.SparseTensor([[0, 0]], [4.0], [1, 5]))
    np.testing.assert_allclose(answer["code"], model.encode(centred), rtol=1e-6)


@pytest.mark.parametrize("name", ["recommend", "encode"])
def test_a_user_alone_and_among_others_gets_the_same_answer(signatures, name):
    histories = [
        [("alien", 5.0)],
        [("cube", 1.0), ("brazil", 2.0), (UNKNOWN, 3.0)],
        [],
    ]
    function = getattr(signatures, name)
    together = ask(function, histories)
    for row, history in enumerate(histories):
        alone = ask(function, [history])
        for key, value in alone.items():
            if value.dtype == object:
                assert value[0].tolist() == together[key][row].tolist()
            else:
                np.testing.assert_allclose(
                    value[0], together[key][row], rtol=1e-5, atol=1e-6
                )


def test_unknown_ids_are_ignored_and_known_ones_counted(signatures):
    with_unknown = ask(signatures.recommend, [[(UNKNOWN, 5.0), ("alien", 2.0)]])
    without = ask(signatures.recommend, [[("alien", 2.0)]])
    assert with_unknown["num_known_items"].tolist() == [1]
    np.testing.assert_array_equal(
        with_unknown["predicted_ratings"], without["predicted_ratings"]
    )


def test_an_item_named_twice_counts_once_with_its_last_rating(signatures):
    twice = ask(
        signatures.recommend,
        [[("alien", 1.0), ("cube", 3.0), ("alien", 5.0), ("alien", 4.0)]],
    )
    once = ask(signatures.recommend, [[("cube", 3.0), ("alien", 4.0)]])
    assert twice["num_known_items"].tolist() == [2]
    for key, value in once.items():
        np.testing.assert_array_equal(twice[key], value)


def test_the_order_of_a_history_does_not_matter(signatures):
    history = [("fargo", 1.0), ("alien", 5.0), ("été", 2.0)]
    forward = ask(signatures.recommend, [history])
    backward = ask(signatures.recommend, [history[::-1]])
    for key, value in forward.items():
        np.testing.assert_array_equal(backward[key], value)


@pytest.mark.parametrize(
    "history", [[], [(UNKNOWN, 3.0)], [("", float("nan"))]], ids=str
)
def test_without_a_known_item_the_answer_is_that_to_an_empty_history(
    model, signatures, history
):
    answer = ask(signatures.recommend, [history])
    expected = np.sort(model_predictions(model, []))[::-1][:4]
    np.testing.assert_allclose(
        answer["predicted_ratings"][0], expected, rtol=1e-5
    )
    assert answer["num_known_items"].tolist() == [0]


def test_a_rating_of_zero_is_a_rating(model, signatures):
    answer = ask(signatures.recommend, [[("alien", 0.0)]])
    assert answer["num_known_items"].tolist() == [1]
    assert b"alien" not in answer["item_ids"][0]
    expected = model_predictions(model, [("alien", 0.0)])
    assert answer["predicted_ratings"][0, 0] == pytest.approx(
        expected[1:].max(), rel=1e-5
    )


@pytest.mark.parametrize("rating", [float("nan"), float("inf"), -0.5, 5.5])
@pytest.mark.parametrize("item_id", ["cube", UNKNOWN])
def test_a_rating_off_the_scale_is_refused_with_its_item(
    signatures, item_id, rating
):
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match=rf"scale from 0 to 5(.|\n)*{item_id}(.|\n)*{rating}",
    ):
        ask(signatures.encode, [[("alien", 3.0)], [(item_id, rating)]])


def test_histories_and_ratings_of_different_shapes_are_refused(signatures):
    for ratings in ([[1.0]], [[1.0, 2.0, 3.0]], [[1.0, 2.0], [1.0, 2.0]]):
        with pytest.raises(
            tf.errors.InvalidArgumentError, match="must have the same shape"
        ):
            signatures.recommend(
                tf.constant([["alien", "cube"]]), tf.constant(ratings)
            )


def test_candidates_need_a_row_for_each_user(signatures):
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="a row for each row of `item_ids`"
    ):
        ask(
            signatures.predict,
            [[("alien", 3.0)], [("cube", 3.0)]],
            candidate_item_ids=[["fargo"]],
        )


def test_more_recommendations_than_items_are_cut_to_the_catalogue(model):
    signatures = Signatures(
        model, ITEM_IDS, rating_scale=(0.0, 5.0), mean_rating=3.0, top_k=100
    )
    answer = ask(signatures.recommend, [[("alien", 3.0)]])
    assert answer["item_ids"].shape == (1, len(ITEM_IDS))


def test_a_long_history_is_read_as_it_is(model, signatures):
    rng = np.random.default_rng(1)
    history = [
        (ITEM_IDS[index], float(rating))
        for index, rating in zip(
            rng.integers(0, 5, 3000), rng.integers(0, 6, 3000), strict=True
        )
    ]
    answer = ask(signatures.encode, [history])
    short = ask(signatures.encode, [list(dict(history).items())])
    np.testing.assert_allclose(answer["code"], short["code"], rtol=1e-6)
    assert answer["num_known_items"].tolist() == [5]
