import keras
import numpy as np
import pytest
import tensorflow as tf

from export.probe_requests import to_examples
from export.probe_users import User
from tests.export.helpers import (
    ask,
    make_signatures,
    model_predictions,
    to_sparse,
)
from trainer.model.autoencoder import AutoEncoder
from trainer.model.uncertainty import Uncertainty

pytestmark = pytest.mark.integration

ITEM_IDS = ["alien", "brazil", "cube", "été", "fargo"]
UNKNOWN = "unheard of"


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = AutoEncoder(
        len(ITEM_IDS), hidden_units=(4, 3), centering="user_item"
    )
    model.centering.set_statistics(
        np.array([9, 8, 7, 6, 5]), np.array([4.0, 3.0, 2.0, 3.5, 1.0])
    )
    return model


@pytest.fixture(scope="module")
def signatures(model):
    return make_signatures(model, ITEM_IDS)


def test_recommendations_are_the_unrated_items_best_first(model, signatures):
    history = [("cube", 4.0), ("alien", 0.0)]
    answer = ask(signatures.recommend, [history])
    expected = model_predictions(model, ITEM_IDS, history)
    unrated = [1, 3, 4]
    ranked = sorted(unrated, key=lambda index: -expected[index])
    assert [id.decode() for id in answer["item_ids"][0][:3]] == [
        ITEM_IDS[index] for index in ranked
    ]
    np.testing.assert_allclose(
        answer["predicted_ratings"][0][:3], expected[ranked], rtol=1e-5
    )


def test_each_user_gets_as_many_recommendations_as_they_ask_for(signatures):
    histories = [[("cube", 4.0)], [("alien", 1.0)], []]
    numbers = np.array([1, 3, 0], np.int32)
    answer = ask(
        signatures.recommend_top, histories, num_recommendations=numbers
    )
    expected = ask(signatures.recommend, histories)
    for name in ("item_ids", "titles", "scores", "predicted_ratings"):
        assert answer[name].shape == (3, 3)
        for row, number in enumerate(numbers):
            assert list(answer[name][row, :number]) == list(
                expected[name][row, :number]
            )
            assert not any(answer[name][row, number:])


@pytest.mark.parametrize(("num_items", "k"), [(5, 9), (1003, 3), (1003, 900)])
def test_lists_of_any_length_are_the_first_of_all_items(num_items, k):
    keras.utils.set_random_seed(0)
    item_ids = [f"item {index}" for index in range(num_items)]
    signatures = make_signatures(
        AutoEncoder(num_items, hidden_units=(8, 4)), item_ids, top_k=num_items
    )
    history = [("item 1", 3.0), ("item 4", 5.0)]
    compiled = tf.function(signatures.recommend_top)
    answer = ask(
        compiled, [history], num_recommendations=np.array([k], np.int32)
    )
    expected = ask(signatures.recommend, [history])
    assert list(answer["item_ids"][0]) == list(expected["item_ids"][0][:k])


def test_a_negative_number_of_recommendations_is_refused(signatures):
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match=r"`num_recommendations` must be 0 or more.*-1",
    ):
        ask(
            signatures.recommend_top,
            [[], []],
            num_recommendations=np.array([2, -1], np.int32),
        )


def test_a_user_with_few_items_left_gets_empty_ids_at_the_end(signatures):
    history = [(item_id, 3.0) for item_id in ITEM_IDS[:4]]
    answer = ask(signatures.recommend, [history])
    assert answer["item_ids"][0].tolist() == [b"fargo", b"", b"", b""]
    assert np.isfinite(answer["predicted_ratings"]).all()


@pytest.mark.parametrize("num_unrated", [3, 1000])
def test_of_a_large_catalogue_the_best_unrated_items_are_found(num_unrated):
    keras.utils.set_random_seed(0)
    item_ids = [f"item {index}" for index in range(1003)]
    large_model = AutoEncoder(len(item_ids), hidden_units=(8, 4))
    signatures = make_signatures(large_model, item_ids, top_k=10)
    history = [(item_id, 3.0) for item_id in item_ids[num_unrated:]]

    answer = ask(signatures.recommend, [history])

    expected = model_predictions(large_model, item_ids, history)[:num_unrated]
    ranked = np.argsort(-expected)[:10]
    fillers = [b""] * (10 - len(ranked))
    assert answer["item_ids"][0].tolist() == [
        *(item_ids[index].encode() for index in ranked),
        *fillers,
    ]
    np.testing.assert_allclose(
        answer["predicted_ratings"][0][: len(ranked)],
        expected[ranked],
        rtol=1e-5,
    )


def test_predictions_are_the_model_s_for_rated_and_unrated_candidates(
    model, signatures
):
    history = [("brazil", 5.0), ("fargo", 1.0)]
    answer = ask(
        signatures.predict,
        [history],
        candidate_item_ids=[["fargo", "alien", "été"]],
    )
    expected = model_predictions(model, ITEM_IDS, history)[[4, 0, 3]]
    np.testing.assert_allclose(
        answer["predicted_ratings"][0], expected, rtol=1e-5
    )
    assert answer["candidate_known"].all()


@pytest.mark.parametrize(
    ("policy", "tolerance"), [("mixed_bfloat16", 5e-2), ("mixed_float16", 1e-2)]
)
def test_a_model_in_half_precision_is_served_with_its_float32_weights(
    policy, tolerance
):
    keras.utils.set_random_seed(0)
    model = AutoEncoder(len(ITEM_IDS), hidden_units=(4, 3), dtype=policy)
    served = make_signatures(model, ITEM_IDS)
    history = [("alien", 4.0), ("cube", 2.0)]
    answer = ask(served.predict, [history], candidate_item_ids=[ITEM_IDS])
    np.testing.assert_allclose(
        answer["predicted_ratings"][0],
        model_predictions(model, ITEM_IDS, history),
        rtol=tolerance,
        atol=tolerance,
    )
    assert ask(served.encode, [history])["code"].dtype == np.float32


def test_an_unknown_candidate_gets_the_mean_and_the_user_s_offset(signatures):
    # All items have the mean 3, and a user starts with 10 ratings at it.
    answer = ask(
        signatures.predict,
        [[("alien", 5.0), ("brazil", 4.0)], [("cube", 3.0)], []],
        candidate_item_ids=[[UNKNOWN, "", "cube"]] * 3,
    )
    assert answer["candidate_known"].tolist() == [[False, False, True]] * 3
    np.testing.assert_allclose(
        answer["predicted_ratings"][:, :2],
        [[3 + 3 / 12] * 2, [3.0] * 2, [3.0] * 2],
    )


def make_uncertainty():
    uncertainty = Uncertainty(len(ITEM_IDS), (0.0, 5.0))
    uncertainty.set_statistics(
        np.array([9, 8, 7, 6, 5]),
        np.array([4.0, 3.0, 2.0, 3.5, 1.0]),
        np.array([9.0, 2.0, 7.0, 12.0, 1.0]),
    )
    uncertainty.coefficients.assign([-0.2, -0.1, 0.8, 0.7, 0.5])
    return uncertainty


@pytest.mark.parametrize("clips", [False, True])
def test_deviations_are_those_around_the_predictions(model, clips):
    uncertainty = make_uncertainty()
    signatures = make_signatures(
        model, ITEM_IDS, uncertainty=uncertainty, clip_predictions=clips
    )
    history = [("brazil", 5.0), ("fargo", 1.0)]
    answer = ask(
        signatures.predict,
        [history],
        candidate_item_ids=[["fargo", UNKNOWN, "été"]],
    )
    ratings = to_sparse(ITEM_IDS, history)
    of_all = uncertainty(ratings, model(ratings)).numpy()[0]
    # All items have the mean 3, and a user starts with 10 ratings at it.
    (of_unknown,) = uncertainty.of_unknown_items(
        ratings, tf.constant([[3.0]])
    ).numpy()[0]
    np.testing.assert_allclose(
        answer["standard_deviations"],
        [[of_all[4], of_unknown, of_all[3]]],
        rtol=1e-5,
    )


def test_without_uncertainty_there_are_no_deviations(signatures):
    answer = ask(signatures.predict, [[]], candidate_item_ids=[["cube"]])
    assert "standard_deviations" not in answer


def test_the_code_is_the_encoder_s(model, signatures):
    answer = ask(signatures.encode, [[("alien", 4.0)]])
    centered, _ = model.centering(tf.SparseTensor([[0, 0]], [4.0], [1, 5]))
    np.testing.assert_allclose(
        answer["code"], model.encode(centered), rtol=1e-6
    )


HISTORIES = [
    [("alien", 5.0)],
    [("cube", 1.0), ("brazil", 2.0), (UNKNOWN, 3.0)],
    [],
]
COLUMNS = ["fargo", "cube", UNKNOWN, "", "fargo", "été"]


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("recommend", None),
        ("recommend_top", "num_recommendations"),
        ("recommend_from", "candidate_item_ids"),
        ("predict", "candidate_item_ids"),
        ("explain", "target_item_ids"),
        ("encode", None),
    ],
)
def test_a_user_alone_and_among_others_gets_the_same_answer(
    signatures, name, column
):
    def columns(num_rows):
        if column == "num_recommendations":
            return {column: np.full(num_rows, 3, np.int32)}
        return {column: [COLUMNS] * num_rows} if column else {}

    function = getattr(signatures, name)
    together = ask(function, HISTORIES, **columns(3))
    for row, history in enumerate(HISTORIES):
        assert_same_row(
            ask(function, [history], **columns(1)), 0, together, row
        )


def assert_same_row(answer, row, other, other_row):
    assert answer.keys() == other.keys()
    for key, value in answer.items():
        if value.dtype == object:
            assert value[row].tolist() == other[key][other_row].tolist()
        else:
            np.testing.assert_allclose(
                value[row], other[key][other_row], rtol=1e-5, atol=1e-6
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
    expected = np.sort(model_predictions(model, ITEM_IDS, []))[::-1][:4]
    np.testing.assert_allclose(
        answer["predicted_ratings"][0], expected, rtol=1e-5
    )
    assert answer["num_known_items"].tolist() == [0]


def test_a_rating_of_zero_is_a_rating(model, signatures):
    answer = ask(signatures.recommend, [[("alien", 0.0)]])
    assert answer["num_known_items"].tolist() == [1]
    assert b"alien" not in answer["item_ids"][0]
    expected = model_predictions(model, ITEM_IDS, [("alien", 0.0)])
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
    signatures = make_signatures(model, ITEM_IDS, top_k=100)
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


# ---- Ranking candidates ----


def test_candidates_are_ranked_without_rated_unknown_and_repeated_ones(
    model, signatures
):
    history = [("brazil", 5.0), ("été", 0.0)]
    candidates = ["cube", UNKNOWN, "été", "fargo", "", "cube", "alien", ""]
    answer = ask(
        signatures.recommend_from, [history], candidate_item_ids=[candidates]
    )
    expected = model_predictions(model, ITEM_IDS, history)
    ranked = sorted([0, 2, 4], key=lambda index: -expected[index])
    assert answer["item_ids"][0].tolist() == [
        *(ITEM_IDS[index].encode() for index in ranked),
        *[b""] * 5,
    ]
    np.testing.assert_allclose(
        answer["predicted_ratings"][0, :3], expected[ranked], rtol=1e-5
    )
    assert answer["predicted_ratings"][0, 3:].tolist() == [0.0] * 5
    assert answer["num_known_items"].tolist() == [2]


def test_without_candidates_nothing_is_recommended(signatures):
    answer = ask(
        signatures.recommend_from,
        [[("alien", 3.0)]],
        candidate_item_ids=np.empty((1, 0), object),
    )
    assert answer["item_ids"].shape == (1, 0)
    assert answer["predicted_ratings"].shape == (1, 0)


def test_all_items_as_candidates_give_the_recommendations(signatures):
    everything = ask(
        signatures.recommend_from,
        HISTORIES,
        candidate_item_ids=[ITEM_IDS] * len(HISTORIES),
    )
    best = ask(signatures.recommend, HISTORIES)
    for key in ("item_ids", "predicted_ratings"):
        np.testing.assert_array_equal(everything[key][:, :4], best[key])


# ---- Titles ----

# The title of `été` is an id; two items share another one.
TITLES = ["Alien (1979)", None, "Remake", "alien", "Remake"]


@pytest.fixture(scope="module")
def titled(model):
    return make_signatures(model, ITEM_IDS, TITLES, top_k=5)


def test_titles_stand_beside_ids_and_ids_for_items_without_one(titled):
    title_of_id = dict(zip(ITEM_IDS, TITLES, strict=True)) | {
        "brazil": "brazil",
        "": "",
    }
    history = [("cube", 4.0)]
    targets = [["alien", UNKNOWN]]
    answers = [
        ask(titled.recommend, [history]),
        ask(titled.explain, [history], target_item_ids=targets),
        titled.similar(tf.constant(targets)),
    ]
    for answer, ids, titles in zip(
        answers,
        ("item_ids", "reason_item_ids", "similar_item_ids"),
        ("titles", "reason_titles", "similar_titles"),
        strict=True,
    ):
        found = np.ravel(answer[ids]).tolist()
        assert [title.decode() for title in np.ravel(answer[titles])] == [
            title_of_id[item_id.decode()] for item_id in found
        ]
        assert any(found)


def test_a_title_names_its_item_and_an_id_goes_before_it(titled):
    by_title = [("Alien (1979)", 5.0), ("alien", 1.0)]
    answer = ask(
        titled.predict,
        [by_title, [("alien", 1.0)]],
        candidate_item_ids=[["Alien (1979)"], ["alien"]],
    )
    # It is one item, whose last rating counts.
    assert answer["num_known_items"].tolist() == [1, 1]
    assert answer["candidate_known"].all()
    first, second = answer["predicted_ratings"]
    assert first == second


def test_a_title_of_several_items_is_refused_with_their_ids(titled):
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match=r"(?s)Several items have the same title.*Remake.*cube, fargo",
    ):
        ask(titled.recommend, [[("Remake", 4.0)]])


# ---- Clipping ----


def test_clipped_predictions_lie_on_the_scale_and_keep_the_ranking(model):
    def answers(clip_predictions):
        signatures = make_signatures(
            model,
            ITEM_IDS,
            rating_scale=(2.9, 3.0),
            clip_predictions=clip_predictions,
        )
        history = [("cube", 2.95)]
        candidates = {"candidate_item_ids": [ITEM_IDS]}
        return [
            ask(signatures.recommend, [history]),
            ask(signatures.recommend_from, [history], **candidates),
            ask(signatures.predict, [history], **candidates),
        ]

    for clipped, raw in zip(answers(True), answers(False), strict=True):
        ratings = raw["predicted_ratings"]
        # Fillers stay 0.
        is_item = raw.get("item_ids", np.full((1, 5), b"an item")) != b""
        assert (ratings[is_item] > 3).any()
        assert (ratings[is_item] < 2.9).any()
        np.testing.assert_array_equal(
            clipped["predicted_ratings"],
            np.where(is_item, np.clip(ratings, 2.9, 3), 0),
        )
        if "item_ids" in raw:
            assert clipped["item_ids"].tolist() == raw["item_ids"].tolist()


# ---- Serialized examples ----


def serialize(histories, candidates=None):
    """Examples of users who rated items of ITEM_IDS and UNKNOWN."""
    ids = np.array([*ITEM_IDS, UNKNOWN], object)
    users = [
        User(
            np.array([ids.tolist().index(item) for item, _ in history], int),
            np.array([rating for _, rating in history], "f"),
        )
        for history in histories
    ]
    return tf.constant(to_examples(users, ids, candidates))


def test_examples_are_answered_as_the_inputs_that_they_hold(signatures):
    answer = signatures.recommend_examples(serialize(HISTORIES))
    expected = ask(signatures.recommend, HISTORIES)
    assert answer.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(answer[name], value)


def test_examples_hold_as_many_candidates_as_each_user_has(signatures):
    candidates = [["fargo", UNKNOWN], [], ["cube"]]
    answer = signatures.predict_examples(serialize(HISTORIES, candidates))
    expected = ask(
        signatures.predict,
        HISTORIES,
        candidate_item_ids=[["fargo", UNKNOWN], ["", ""], ["cube", ""]],
    )
    assert answer.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(answer[name], value)
    # A row alone is as long as its own list.
    alone = signatures.predict_examples(serialize(HISTORIES, candidates)[2:])
    assert alone["predicted_ratings"].shape == (1, 1)
    np.testing.assert_allclose(
        alone["predicted_ratings"][0], expected["predicted_ratings"][2, :1]
    )


def test_an_example_without_features_is_an_empty_history(signatures):
    answer = signatures.recommend_examples(tf.constant([b""]))
    expected = ask(signatures.recommend, [[]])
    assert answer["item_ids"].numpy().tolist() == expected["item_ids"].tolist()


def test_an_example_with_more_ratings_than_items_is_refused(signatures):
    example = tf.train.Example()
    example.features.feature["item_ids"].bytes_list.value.append(b"alien")
    example.features.feature["ratings"].float_list.value.extend([1.0, 2.0])
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match=r"as many `ratings` as `item_ids`(.|\n)*2(.|\n)*1",
    ):
        signatures.recommend_examples(
            tf.constant([b"", example.SerializeToString()])
        )


def test_what_is_no_example_is_refused(signatures):
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="Could not parse example"
    ):
        signatures.recommend_examples(tf.constant([b"nonsense"]))


def test_the_default_signature_can_be_another(model):
    signatures = make_signatures(model, ITEM_IDS, default="predict_examples")
    (spec,) = signatures.input_specs["serving_default"]
    assert spec.name == "examples"
    assert (
        signatures.functions["serving_default"] == signatures.predict_examples
    )


# ---- What clients should know ----


def test_the_model_says_what_it_knows_and_how_to_ask_it(signatures):
    answer = signatures.describe(tf.constant([["alien", UNKNOWN], ["", "été"]]))
    assert answer["item_known"].numpy().tolist() == [
        [True, False],
        [False, True],
    ]
    assert answer["history_length"].numpy().tolist() == [32, 32]
    assert answer["rating_min"].numpy().tolist() == [0.0, 0.0]
    assert answer["rating_max"].numpy().tolist() == [5.0, 5.0]
