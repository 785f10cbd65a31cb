import base64
import json
import random
import socket
import sys
import threading
import time
from concurrent import futures

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    predict_pb2,
)

from export.probe_requests import to_examples
from export.probe_users import User
from export.saved_model import export_job
from export.settings import ExportSettings
from serving.client import (
    Client,
    Explanation,
    Prediction,
    Recommendation,
    ServingError,
    SimilarItem,
    SimilarItems,
    VersionStatus,
    predict_messages,
)
from serving.protocol import Code
from tests.serving.canned import (
    MODEL,
    canned_grpc_server,
    canned_server,
    find_closed_port,
)
from tests.serving.processes import REPOSITORY, run_server
from trainer.job.paths import JobPaths

pytestmark = pytest.mark.extended

HISTORY_LENGTH = 24


@pytest.fixture
def silent_url():
    """The URL of a model that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}{MODEL}"


@pytest.fixture
def closed_url():
    """A URL where nothing listens."""
    return f"http://127.0.0.1:{find_closed_port()}{MODEL}"


@pytest.fixture(scope="module")
def real_server(trained_job, tmp_path_factory):
    """A server of a real model that puts requests together in batches."""
    export_dir = tmp_path_factory.mktemp("real")
    export_job(
        JobPaths.resolve(
            trained_job.job_dir, export_dir=str(export_dir), environ={}
        ),
        ExportSettings(history_length=HISTORY_LENGTH),
    )
    config = REPOSITORY / "serving/deploy/config/batching-cpu.config"
    with run_server(
        export_dir,
        "--check_digests",
        "--enable_batching",
        *("--batching_parameters_file", config),
    ) as running:
        yield running


@pytest.fixture(params=["rest", "grpc"])
def real_url(request, real_server):
    if request.param == "rest":
        return real_server.url
    return f"grpc://{real_server.grpc_address}/recommender"


RATINGS = {"item-1": 9, "item-2": 0, "item-3": 5.5, "nobody's": 7}


# ---- The library, against the real server ----


def test_recommend_returns_unseen_items_best_first(server):
    recommendations = Client(server.url).recommend({"alien": 4, "nobody": 1})
    assert recommendations.items == [
        Recommendation("brazil", 4.5, 4.5, title="brazil"),
        Recommendation("été à 東京", 4.0, 4.0, title="été à 東京"),
        Recommendation("cube", 3.5, 3.5, title="cube"),
    ]
    assert recommendations.num_known_items == 1


def test_recommend_leaves_out_what_fills_a_short_list(server):
    ratings = [("alien", 4), ("brazil", 4), ("cube", 4)]
    recommendations = Client(server.url).recommend(ratings)
    assert recommendations.items == [
        Recommendation("été à 東京", 4.0, 4.0, title="été à 東京")
    ]
    assert recommendations.num_known_items == 3


def test_recommend_works_without_ratings(server):
    recommendations = Client(server.url).recommend({})
    assert recommendations.items[0].item_id == "alien"
    assert recommendations.num_known_items == 0


def test_predict_answers_in_the_order_of_the_candidates(server):
    predictions = Client(f"{server.url}/versions/3").predict(
        {"alien": 4}, ["cube", "nobody", "alien"]
    )
    assert predictions.items == [
        Prediction("cube", 3.5, True),
        Prediction("nobody", 4.0, False),
        Prediction("alien", 5.0, True),
    ]
    assert predictions.num_known_items == 1


def test_predict_works_without_candidates(server):
    assert Client(server.url).predict({"alien": 4}, []).items == []


def test_similar_items_come_by_the_cosine_of_the_item_vectors(server):
    grpc_url = f"grpc://{server.grpc_address}/recommender"
    for url in (server.url, grpc_url):
        alien, unknown = Client(url).similar(["alien", "nobody"]).items
        assert (alien.item_id, alien.known) == ("alien", True)
        assert [item.item_id for item in alien.items] == [
            *("brazil", "cube", "été à 東京")
        ]
        assert [item.similarity for item in alien.items] == pytest.approx(
            [0.8, 0.6, -1.0]
        )
        assert unknown == SimilarItems("nobody", False, [])


def test_similar_works_without_items(server):
    assert Client(server.url).similar([]).items == []


def test_a_refusal_carries_the_servers_status_and_text(server):
    with pytest.raises(ServingError) as caught:
        Client(f"{server.url}/versions/99").recommend({"alien": 4})
    assert caught.value.status == 404
    assert caught.value.message == (
        "Servable not found for request: Specific(recommender, 99)"
    )
    assert str(caught.value) == f"{caught.value.message} (HTTP status 404)"


def test_a_refusal_ends_without_the_node_of_the_graph():
    text = "`ratings` must lie on the scale: [a] [9]\\n\\t [[{{node Assert}}]]"
    answer = f'{{"error": "{text}"}}'.encode(), 400
    with (
        canned_server(answer) as (url, _),
        pytest.raises(ServingError, match="must lie") as caught,
    ):
        Client(url, pads=False).recommend({"a": 9})
    assert caught.value.message == "`ratings` must lie on the scale: [a] [9]"


# ---- A real model, over REST and gRPC ----


def test_both_apis_give_the_same_answers(real_server):
    grpc_url = f"grpc://{real_server.grpc_address}/recommender"
    with Client(real_server.url) as rest, Client(grpc_url) as client:
        for name, arguments in (
            ("recommend", []),
            ("recommend", [["item-5", "item-1", "nobody's"]]),
            ("recommend", [None, 7]),
            ("predict", [["item-5", "item-1", "nobody's"]]),
            ("explain", [["item-5", "nobody's"]]),
            ("encode", []),
        ):
            expected = getattr(rest, name)(RATINGS, *arguments)
            assert expected.num_known_items == 3
            # JSON has fewer digits.
            assert_close(getattr(client, name)(RATINGS, *arguments), expected)


def assert_close(actual, expected):
    if isinstance(expected, float):
        assert actual == pytest.approx(expected, rel=1e-6, abs=1e-6)
    elif isinstance(expected, list | tuple):
        for pair in zip(actual, expected, strict=True):
            assert_close(*pair)
    elif hasattr(expected, "__dataclass_fields__"):
        assert_close(vars(actual), vars(expected))
    elif isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for name, value in expected.items():
            assert_close(actual[name], value)
    else:
        assert actual == expected


def test_recommendations_come_from_the_candidates(real_url):
    client = Client(real_url)
    candidates = [f"item-{index}" for index in range(9)]
    chosen = client.recommend(RATINGS, candidates).items
    assert {item.item_id for item in chosen} == set(candidates) - set(RATINGS)
    everything = client.recommend(RATINGS).items
    assert chosen == [item for item in everything if item.item_id in candidates]
    assert client.recommend(RATINGS, []).items == []


def test_as_many_are_recommended_as_are_asked_for(real_url):
    client = Client(real_url)
    everything = client.recommend(RATINGS).items
    for number in (0, 1, 7, 1000):
        items = client.recommend(RATINGS, num_recommendations=number).items
        assert items == everything[:number]
    with pytest.raises(ServingError, match="must be 0 or more") as caught:
        client.recommend(RATINGS, num_recommendations=-1)
    assert caught.value.is_refusal
    with pytest.raises(ValueError, match=r"Give either .*recommendations=2"):
        client.recommend(RATINGS, ["item-5"], 2)


def test_reasons_add_the_difference_that_a_rating_makes(real_url):
    client = Client(real_url)
    (known, unknown) = client.explain(RATINGS, ["item-5", "nobody's"]).items
    assert known.known
    assert {reason.item_id for reason in known.reasons} == {
        *("item-1", "item-2", "item-3")
    }

    def predict(ratings):
        return client.predict(ratings, ["item-5"]).items[0].predicted_rating

    for item_id, contribution, _ in known.reasons:
        others = {key: RATINGS[key] for key in RATINGS if key != item_id}
        assert contribution == pytest.approx(
            predict(RATINGS) - predict(others), abs=1e-4
        )
    assert unknown == Explanation("nobody's", False, [])


def test_a_user_without_ratings_is_served_as_any_other(real_url):
    client = Client(real_url)
    assert len(client.recommend({}).items) == 40
    assert client.explain({}, ["item-5"]).items[0].reasons == []
    assert len(client.encode({}).code) == 8


def test_the_status_names_the_versions(real_url):
    assert Client(real_url).status() == [
        VersionStatus(1, "AVAILABLE", Code.OK, "")
    ]


def test_the_model_s_refusal_carries_the_server_s_text(real_url):
    with pytest.raises(ServingError, match="scale from 0 to 10") as caught:
        Client(real_url).recommend({"item-1": 11})
    assert caught.value.status in (400, Code.INVALID_ARGUMENT)
    assert not caught.value.is_retriable


def test_an_unknown_version_and_label_carry_the_server_s_text(real_url):
    with pytest.raises(ServingError, match="Servable not found") as caught:
        Client(f"{real_url}/versions/7").recommend({})
    assert caught.value.status in (404, Code.NOT_FOUND)
    with pytest.raises(ServingError, match="Unrecognized servable version"):
        Client(f"{real_url}/labels/new").recommend({})


def test_histories_of_any_length_go_together_in_batches(real_url):
    # The ratings of item-1 are the last of their kind: they count.
    ratings = [
        [("item-2", float(place % 10)) for place in range(length)]
        + [("item-1", 9.0)]
        for length in (0, 1, 5, 17, 22)
    ]
    client = Client(real_url)
    expected = [client.predict(each, ["item-5"]).items for each in ratings]
    client = Client(real_url)
    with futures.ThreadPoolExecutor(5) as executor:
        answers = list(
            executor.map(
                lambda each: client.predict(each, ["item-5"]).items, ratings * 8
            )
        )
    for answer, (item,) in zip(answers, expected * 8, strict=True):
        assert_close(answer, [item])


def test_examples_are_asked_in_base64_as_batch_prediction_asks(real_server):
    ids = np.array(["item-1", "item-2"], object)
    users = [
        User(np.array([0, 1]), np.array([9, 0], "f")),
        User(np.array([1]), np.array([4], "f")),
    ]
    status, document = real_server.ask_json(
        "POST",
        "/v1/models/recommender:predict",
        {
            "signature_name": "recommend_examples",
            "instances": [
                {"b64": base64.b64encode(example).decode()}
                for example in to_examples(users, ids)
            ],
        },
    )
    assert status == 200
    client = Client(real_server.url)
    for user, answer in zip(users, document["predictions"], strict=True):
        ratings = zip(ids[user.items], user.ratings, strict=True)
        expected = client.recommend(ratings)
        assert answer["num_known_items"] == expected.num_known_items
        items = [item.item_id for item in expected.items]
        # Then what fills the list up.
        assert answer["item_ids"][: len(items)] == items


# ---- Padding ----


def answer_of(**outputs):
    return json.dumps({"predictions": [outputs]}).encode(), 200


DESCRIPTION = answer_of(
    item_known=[False], history_length=3, rating_min=1.0, rating_max=5.0
)
NOTHING = answer_of(item_ids=[], predicted_ratings=[], num_known_items=0)
BUSY = b'{"error": "busy"}', 503


@pytest.mark.parametrize(
    ("num_ratings", "padded_length"), [(0, 3), (1, 3), (3, 3), (4, 6), (9, 9)]
)
def test_histories_are_padded_to_the_length_that_the_model_publishes(
    num_ratings, padded_length
):
    with canned_server(DESCRIPTION, NOTHING) as (url, requests):
        client = Client(url)
        for _ in range(2):
            client.recommend([("a", 2)] * num_ratings)
    described, *asked = (request for _, request in requests)
    assert described == {
        "signature_name": "describe",
        "instances": [{"item_ids": [""]}],
    }
    num_missing = padded_length - num_ratings
    for request in asked:
        assert request["instances"] == [
            {
                "item_ids": ["a"] * num_ratings + [""] * num_missing,
                "ratings": [2.0] * num_ratings + [0.0] * num_missing,
            }
        ]
    assert len(asked) == 2


def test_recommendations_have_the_scores_that_rank_them():
    ranked = answer_of(
        item_ids=["a", "b", ""],
        predicted_ratings=[3.0, 4.0, 0.0],
        scores=[7.5, -2.0, 0.0],
        num_known_items=1,
    )
    with canned_server(DESCRIPTION, ranked) as (url, _):
        answer = Client(url).recommend({"c": 2})
    assert answer.items == [
        Recommendation("a", 3.0, score=7.5, title="a"),
        Recommendation("b", 4.0, score=-2.0, title="b"),
    ]


def test_titles_stand_beside_ids():
    recommended = answer_of(
        item_ids=["1"],
        titles=["Heat (1995)"],
        predicted_ratings=[3.0],
        scores=[7.5],
        num_known_items=1,
    )
    similar = answer_of(
        similar_item_ids=[["7", ""]],
        similar_titles=[["Alien (1979)", ""]],
        similarities=[[0.5, 0.0]],
        target_known=[True],
    )
    with canned_server(recommended, similar) as (url, _):
        client = Client(url, pads=False)
        (item,) = client.recommend({"c": 2}).items
        ((_, _, items),) = client.similar(["c"]).items
    assert item == Recommendation("1", 3.0, 7.5, title="Heat (1995)")
    assert items == [SimilarItem("7", 0.5, title="Alien (1979)")]


def test_an_older_model_without_scores_ranks_by_the_predicted_rating():
    ranked = answer_of(
        item_ids=["a", "b"], predicted_ratings=[4.0, 3.0], num_known_items=1
    )
    with canned_server(DESCRIPTION, ranked) as (url, _):
        answer = Client(url).recommend({"c": 2})
    assert answer.items == [
        Recommendation("a", 4.0, score=4.0, title="a"),
        Recommendation("b", 3.0, score=3.0, title="b"),
    ]


def test_a_client_of_older_outputs_reads_them_by_their_places():
    ranked = answer_of(
        item_ids=["a"], predicted_ratings=[4.0], scores=[7.5], num_known_items=1
    )
    with canned_server(DESCRIPTION, ranked) as (url, _):
        (item,) = Client(url).recommend({"c": 2}).items
    assert item[:2] == ("a", 4.0)


def test_candidates_and_targets_are_padded_and_come_back_without_it():
    predictions = answer_of(
        predicted_ratings=[3.0, 2.0, 9.9],
        standard_deviations=[0.5, 0.75, 9.9],
        candidate_known=[True, True, False],
        num_known_items=1,
    )
    explanations = answer_of(
        reason_item_ids=[["a", ""]] * 16,
        contributions=[[0.5, 0.0]] * 16,
        target_known=[True] * 16,
        num_known_items=1,
    )
    similarities = answer_of(
        similar_item_ids=[["a", ""]] * 16,
        similarities=[[0.5, 0.0]] * 16,
        target_known=[True] * 16,
    )
    with canned_server(
        DESCRIPTION, predictions, explanations, similarities
    ) as (url, log):
        client = Client(url)
        items = client.predict({"a": 1}, ["b", "c"]).items
        assert items == [("b", 3.0, True, 0.5), ("c", 2.0, True, 0.75)]
        items = client.explain({"a": 1}, ["b"]).items
        assert items == [Explanation("b", True, [("a", 0.5, "a")])]
        items = client.similar(["b"]).items
        assert items == [SimilarItems("b", True, [("a", 0.5, "a")])]
    (_, predicted, explained, compared) = (
        request["instances"][0] for _, request in log
    )
    assert predicted["candidate_item_ids"] == ["b", "c", ""]
    assert explained["target_item_ids"] == ["b"] + [""] * 15
    # No user: the targets are all that is sent.
    assert compared == {"target_item_ids": ["b"] + [""] * 15}


def test_a_model_that_publishes_no_length_gets_lists_as_they_are():
    refusal = b'{"error": "Serving signature name: ..."}', 400
    with canned_server(refusal, NOTHING) as (url, requests):
        client = Client(url)
        client.recommend({"a": 1})
        client.recommend({"a": 1})
    assert len(requests) == 3
    assert requests[1][1]["instances"][0]["item_ids"] == ["a"]


def test_after_a_refusal_the_length_is_asked_for_again():
    refusal = b'{"error": "have different shapes"}', 400
    with canned_server(DESCRIPTION, refusal, DESCRIPTION, NOTHING) as (
        url,
        log,
    ):
        client = Client(url)
        with pytest.raises(ServingError, match="have different shapes"):
            client.recommend({"a": 1})
        client.recommend({"a": 1})
    assert [request["signature_name"] for _, request in log] == [
        *("describe", "serving_default", "describe", "serving_default")
    ]


# ---- Retries ----


@pytest.fixture
def pauses(monkeypatch):
    """The bounds of the pauses, none of which is made."""
    made = []

    def choose(low, high):
        made.append((low, high))
        return 0.0

    monkeypatch.setattr(random, "uniform", choose)
    return made


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_after_pauses_that_grow(status, pauses):
    busy = b'{"error": "busy"}', status
    with canned_server(busy, busy, busy, NOTHING) as (url, requests):
        assert Client(url, pads=False).recommend({}).items == []
    assert len(requests) == 4
    assert pauses == [(0, 0.1), (0, 0.2), (0, 0.4)]


def test_a_busy_server_is_given_up_in_the_end(pauses):
    with (
        canned_server(BUSY) as (url, requests),
        pytest.raises(ServingError, match="busy") as caught,
    ):
        Client(url, pads=False, max_retries=7).recommend({})
    assert caught.value.status == 503
    assert caught.value.is_retriable
    assert len(requests) == 8
    assert pauses[-1] == (0, 5.0)


def test_a_proxy_s_503_without_json_is_retried(pauses):
    with canned_server((b"<html>", 503), NOTHING) as (url, requests):
        Client(url, pads=False).recommend({})
    assert len(requests) == 2


@pytest.mark.parametrize("status", [400, 404, 409, 499, 500, 501, 504])
def test_an_answer_that_would_not_change_is_not_asked_for_again(status):
    with (
        canned_server((b'{"error": "no"}', status)) as (url, requests),
        pytest.raises(ServingError, match="no"),
    ):
        Client(url, pads=False).recommend({})
    assert len(requests) == 1


def test_a_refused_connection_is_tried_again(monkeypatch, closed_url):
    attempts = []
    connect = socket.create_connection

    def create_connection(*arguments, **keywords):
        attempts.append(arguments)
        return connect(*arguments, **keywords)

    monkeypatch.setattr(socket, "create_connection", create_connection)
    monkeypatch.setattr(random, "uniform", lambda low, high: 0.0)
    with pytest.raises(ServingError, match="Nothing listens at") as caught:
        Client(closed_url, max_retries=2).recommend({})
    assert caught.value.is_retriable
    assert len(attempts) == 3


def test_retries_end_before_the_deadline(monkeypatch):
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    with canned_server(BUSY) as (url, requests):
        client = Client(url, 0.5, pads=False, max_retries=99)
        start = time.monotonic()
        with pytest.raises(ServingError, match="busy"):
            client.recommend({})
    # After 0.1 and 0.3 seconds; not after 0.7.
    assert len(requests) == 3
    assert 0.3 <= time.monotonic() - start < 0.5


def test_an_answer_that_drips_is_cut_off_at_the_deadline():
    stop = threading.Event()

    def answer(listener):
        connection, _ = listener.accept()
        with connection:
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"
            )
            while not stop.wait(0.02):
                try:
                    connection.sendall(b" ")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=[listener])
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}{MODEL}"
        start = time.monotonic()
        with pytest.raises(ServingError, match=r"Timed out after 0\.3 seconds"):
            Client(url, 0.3).recommend({})
        assert time.monotonic() - start < 2
        stop.set()
        thread.join()


# ---- gRPC ----


def grpc_answer(**outputs):
    response = predict_pb2.PredictResponse()
    for name, value in outputs.items():
        response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
    return response


GRPC_NOTHING = grpc_answer(
    item_ids=np.empty((1, 0), object),
    predicted_ratings=np.empty((1, 0), np.float32),
    num_known_items=np.array([0], np.int32),
)


def test_a_grpc_request_is_one_of_tensorflow_serving_s():
    with canned_grpc_server(GRPC_NOTHING) as (url, requests):
        for suffix in ("", "/versions/12", "/labels/stable", "/b/versions/3"):
            with Client(url + suffix, pads=False) as client:
                client.recommend([("été", 1), ("b", 2.5)])
    plain, versioned, labelled, slashed = requests
    assert slashed.model_spec.name == "m/b"
    assert slashed.model_spec.version.value == 3
    assert plain.model_spec.name == "m"
    assert plain.model_spec.signature_name == "serving_default"
    assert plain.model_spec.WhichOneof("version_choice") is None
    assert versioned.model_spec.version.value == 12
    assert labelled.model_spec.version_label == "stable"
    item_ids, ratings = (
        tf.make_ndarray(plain.inputs[name]) for name in ("item_ids", "ratings")
    )
    assert [item.decode() for item in item_ids[0]] == ["été", "b"]
    assert (ratings.dtype, ratings.tolist()) == (np.float32, [[1.0, 2.5]])


def test_without_ratings_a_grpc_request_has_empty_lists_of_the_right_type():
    with canned_grpc_server(GRPC_NOTHING) as (url, requests):
        Client(url, pads=False).recommend({})
    for name, dtype in (("item_ids", tf.string), ("ratings", tf.float32)):
        tensor = requests[0].inputs[name]
        assert tensor.dtype == dtype.as_datatype_enum
        assert [dim.size for dim in tensor.tensor_shape.dim] == [1, 0]


@pytest.mark.parametrize(
    "code",
    [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED],
    ids=str,
)
def test_a_busy_grpc_server_is_asked_again(code, pauses):
    with canned_grpc_server((code, "busy"), (code, "busy"), GRPC_NOTHING) as (
        url,
        requests,
    ):
        Client(url, pads=False).recommend({})
    assert len(requests) == 3
    assert len(pauses) == 2


def test_a_grpc_refusal_carries_status_and_text():
    refusal = (grpc.StatusCode.INTERNAL, "broken")
    with (
        canned_grpc_server(refusal) as (url, requests),
        pytest.raises(ServingError) as caught,
    ):
        Client(url, pads=False).recommend({})
    assert len(requests) == 1
    assert caught.value.status is Code.INTERNAL
    assert str(caught.value) == "broken (gRPC status INTERNAL)"


def test_a_grpc_server_that_is_not_there_is_reported_after_retries(pauses):
    client = Client(f"grpc://127.0.0.1:{find_closed_port()}/m", max_retries=1)
    with pytest.raises(ServingError) as caught:
        client.recommend({})
    assert caught.value.status is Code.UNAVAILABLE
    assert len(pauses) == 1


def test_a_grpc_server_that_does_not_answer_is_left_at_the_deadline():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"grpc://127.0.0.1:{listener.getsockname()[1]}/m"
        with pytest.raises(
            ServingError, match=r"^Timed out after 0\.3 seconds"
        ) as caught:
            Client(url, 0.3).recommend({})
    assert caught.value.status is Code.DEADLINE_EXCEEDED


@pytest.mark.parametrize(
    "outputs",
    [
        {"num_known_items": np.array([[1], [2]], np.int32)},
        {"num_known_items": np.array(1, np.int32)},
        {"num_known_items": np.array([1], np.float64)},
    ],
    ids=["two rows", "a scalar", "another type"],
)
def test_a_grpc_answer_that_is_not_one_row_is_reported(outputs):
    with (
        canned_grpc_server(grpc_answer(**outputs)) as (url, _),
        pytest.raises(
            ServingError,
            match="did not answer with one row of 'num_known_items'",
        ),
    ):
        Client(url, pads=False).recommend({})


def test_the_messages_are_those_of_tensorflow_serving():
    def make(response):
        version = response.model_version_status.add()
        version.version = 2**40
        version.state = 50
        version.status.error_code = Code.DATA_LOSS
        version.status.error_message = "why"
        return response

    theirs = get_model_status_pb2.GetModelStatusResponse()
    ours = predict_messages.GetModelStatusResponse()
    assert make(ours).SerializeToString() == make(theirs).SerializeToString()
    enum = get_model_status_pb2.ModelVersionStatus.State
    assert {
        number: name for name, number in enum.items() if number
    } == predict_messages.STATES
    for number, dtype in (
        (predict_messages.FLOAT, tf.float32),
        (predict_messages.INT32, tf.int32),
        (predict_messages.STRING, tf.string),
        (predict_messages.BOOL, tf.bool),
    ):
        assert number == dtype.as_datatype_enum


def test_without_grpc_its_urls_say_what_to_install(monkeypatch):
    monkeypatch.delitem(
        sys.modules, "serving.client.grpc_transport", raising=False
    )
    monkeypatch.delattr("serving.client.grpc_transport", raising=False)
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(ServingError, match="pip install grpcio protobuf"):
        Client("grpc://localhost:8500/m")


# ---- The library, against bad servers ----


def test_nothing_listening_is_reported(closed_url):
    message = f"^Nothing listens at {closed_url}. Is the server running"
    with pytest.raises(ServingError, match=message) as caught:
        Client(closed_url).recommend({})
    assert caught.value.status is None


def test_a_timeout_says_how_long_and_for_what(silent_url):
    with pytest.raises(
        ServingError,
        match=f"^Timed out after 0.1 seconds of waiting for an answer from"
        f" {silent_url}$",
    ) as caught:
        Client(silent_url, timeout_seconds=0.1).recommend({})
    assert caught.value.status is None


def test_a_timeout_of_the_tls_handshake_is_one_of_the_connection(silent_url):
    url = silent_url.replace("http://", "https://")
    with pytest.raises(ServingError, match=f"Timed out .* connection to {url}"):
        Client(url, timeout_seconds=0.1).recommend({})


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (b"", "Remote end closed connection without response"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH-2.0-OpenSSH_9.2"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", "IncompleteRead"),
    ],
    ids=["hangs up", "speaks another protocol", "breaks off"],
)
def test_an_answer_that_is_no_http_is_reported(reply, message):
    def answer(listener):
        connection, _ = listener.accept()
        with connection:
            request = b""
            while not request.endswith(b"}]}"):
                request += connection.recv(2**16)
            connection.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}{MODEL}"
        thread = threading.Thread(target=answer, args=[listener])
        thread.start()
        with pytest.raises(
            ServingError, match=f"^Cannot talk to {url}: .*{message}"
        ):
            Client(url).recommend({})
        thread.join()


def test_a_host_that_does_not_exist_is_reported():
    url = f"http://nowhere.invalid{MODEL}"
    with pytest.raises(ServingError, match=f"^Cannot talk to {url}: "):
        Client(url).recommend({})


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (
            b"<html>",
            502,
            "answered with HTTP status 502 and no JSON. Is it the URL of a"
            " model server[?] Received: '<html>'",
        ),
        (b"", 400, "HTTP status 400 and no JSON. .* Received: ''"),
        (b"[]", 200, r"one row of named predictions. Received: \[\]"),
        (b'{"predictions": [[1.0]]}', 200, "one row of named predictions"),
        (b'{"predictions": [{}, {}]}', 200, "one row of named predictions"),
        (
            b'{"predictions": [{}]}',
            200,
            "should answer with 'item_ids': a list of values of type str."
            r" Received: \{\}",
        ),
        (
            b'{"predictions": [{"item_ids": ["a"], "predicted_ratings": []}]}',
            200,
            "should answer with 'predicted_ratings': a list of 1 values of"
            " type float",
        ),
        (
            b'{"predictions": [{"item_ids": ["a"], "predicted_ratings": [1.0],'
            b' "scores": [1.0, 2.0]}]}',
            200,
            "should answer with 'scores': a list of 1 values of type float",
        ),
        (
            b'{"predictions": [{"item_ids": ["a"], "predicted_ratings": [1.0],'
            b' "num_known_items": null}]}',
            200,
            "should answer with 'num_known_items': a value of type int",
        ),
    ],
)
def test_an_unexpected_answer_is_reported(body, status, message):
    with (
        canned_server((body, status)) as (url, _),
        pytest.raises(ServingError, match=message) as caught,
    ):
        Client(url, pads=False).recommend({"a": 1})
    assert caught.value.status == status
    assert url in caught.value.message


def test_the_request_is_one_row_of_the_signature():
    body = b'{"error": "enough"}'
    with canned_server((body, 400)) as (url, requests):
        for ask in (
            lambda: Client(url, pads=False).recommend([("é=", 1), ("é=", 2)]),
            lambda: Client(url + "/labels/new", pads=False).predict(
                {"a": 0}, ["b"]
            ),
        ):
            with pytest.raises(ServingError, match="enough"):
                ask()
    assert requests == [
        (
            f"{MODEL}:predict",
            {
                "signature_name": "serving_default",
                "instances": [
                    {"item_ids": ["é=", "é="], "ratings": [1.0, 2.0]}
                ],
            },
        ),
        (
            f"{MODEL}/labels/new:predict",
            {
                "signature_name": "predict",
                "instances": [
                    {
                        "item_ids": ["a"],
                        "ratings": [0.0],
                        "candidate_item_ids": ["b"],
                    }
                ],
            },
        ),
    ]


# ---- What is refused without asking ----


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8501/v1/models/m",
        "ftp://localhost/v1/models/m",
        "http:///v1/models/m",
        "http://localhost:8501",
        "http://localhost:8501/v1/models/m:predict",
        "http://localhost:8501/v1/models/m/",
        "http://localhost:8501/v1/models/m?x=1",
        "grpc://localhost:8500",
        "grpc://localhost:8500/m/versions/new",
        "grpc:///m",
    ],
)
def test_a_url_that_is_no_models_is_refused(url):
    with pytest.raises(ValueError, match="`url` must be that of a model"):
        Client(url)


@pytest.mark.parametrize("rating", [float("nan"), float("inf")])
def test_a_rating_must_be_finite(closed_url, rating):
    with pytest.raises(
        ValueError,
        match=f"^A rating must be a finite number. Received: {rating} for item"
        " 'a'$",
    ):
        Client(closed_url).recommend({"a": rating})


@pytest.mark.parametrize(
    ("item_id", "error", "message"),
    [
        ("", ValueError, "An item id must not be empty"),
        (318, TypeError, "An item id must be a string. Received: 318"),
    ],
)
def test_an_item_id_must_be_a_string_with_something_in_it(
    closed_url, item_id, error, message
):
    with pytest.raises(error, match=message):
        Client(closed_url).recommend({item_id: 1})
    with pytest.raises(error, match=message):
        Client(closed_url).predict({"a": 1}, [item_id])
    with pytest.raises(error, match=message):
        Client(closed_url).similar([item_id])
