import contextlib
import http.server
import json
import socket
import subprocess
import sys
import threading

import pytest

from serving import client
from serving.client import Client, Prediction, Recommendation, ServingError
from tests.serving.processes import REPOSITORY, run_command

MODEL = "/v1/models/m"


@contextlib.contextmanager
def canned_server(body, status=200):
    """Yields the URL of a model whose every answer is `body`, and its log."""
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            length = int(self.headers["Content-Length"])
            requests.append((self.path, json.loads(self.rfile.read(length))))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}{MODEL}", requests
        server.shutdown()
        thread.join()


@pytest.fixture
def silent_url():
    """The URL of a model that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}{MODEL}"


@pytest.fixture
def closed_url():
    """A URL where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return f"http://127.0.0.1:{port}{MODEL}"


# ---- The library, against the real server ----


def test_recommend_returns_unseen_items_best_first(server):
    recommendations = Client(server.url).recommend({"alien": 4, "nobody": 1})
    assert recommendations.items == [
        Recommendation("brazil", 4.5),
        Recommendation("été à 東京", 4.0),
        Recommendation("cube", 3.5),
    ]
    assert recommendations.num_known_items == 1


def test_recommend_leaves_out_what_fills_a_short_list(server):
    ratings = [("alien", 4), ("brazil", 4), ("cube", 4)]
    recommendations = Client(server.url).recommend(ratings)
    assert recommendations.items == [("été à 東京", 4.0)]
    assert recommendations.num_known_items == 3


def test_recommend_works_without_ratings(server):
    recommendations = Client(server.url).recommend({})
    assert recommendations.items[0] == ("alien", 4.0)
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


def test_a_refusal_carries_the_servers_status_and_text(server):
    with pytest.raises(ServingError) as caught:
        Client(f"{server.url}/versions/99").recommend({"alien": 4})
    assert caught.value.status == 404
    assert caught.value.message == (
        "Servable not found for request: Specific(recommender, 99)"
    )
    assert str(caught.value) == f"{caught.value.message} (HTTP status 404)"


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
        (b"<html>", 502, "did not answer in JSON. Received: '<html>'"),
        (b"", 400, "did not answer in JSON. Received: ''"),
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
            b' "num_known_items": null}]}',
            200,
            "should answer with 'num_known_items': a value of type int",
        ),
    ],
)
def test_an_unexpected_answer_is_reported(body, status, message):
    with (
        canned_server(body, status) as (url, _),
        pytest.raises(ServingError, match=message) as caught,
    ):
        Client(url).recommend({"a": 1})
    assert caught.value.status == status
    assert url in caught.value.message


def test_the_request_is_one_row_of_the_signature():
    body = b'{"error": "enough"}'
    with canned_server(body, 400) as (url, requests):
        for ask in (
            lambda: Client(url).recommend([("é=", 1), ("é=", 2)]),
            lambda: Client(url + "/labels/new").predict({"a": 0}, ["b"]),
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


# ---- The command line ----


def test_recommend_prints_a_table(server):
    run = run_command(
        "serving.client",
        *("recommend", "--url", server.url, "--num-items=2"),
        *("--rating", "alien=4", "--rating", "a = b=3"),
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines() == [
        "1 of 2 rated items are known to the model",
        "",
        "rank  predicted rating  item",
        "   1             4.500  brazil",
        "   2             4.000  été à 東京",
    ]


def test_predict_prints_a_table(server):
    run = run_command(
        "serving.client",
        *("predict", "--url", server.url),
        *("--candidate", "cube", "--candidate=nobody", "--rating=alien=4"),
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines() == [
        "1 of 1 rated items are known to the model",
        "",
        "predicted rating  known  item",
        "           3.500  yes    cube",
        "           4.000  no     nobody",
    ]


def test_json_is_printed_on_request(server, capsys):
    ratings = [f"--rating={item}=4" for item in ("alien", "nobody", "nobody")]
    client.main(
        ["recommend", "--url", server.url, "--json", "--num_items=1", *ratings]
    )
    assert json.loads(capsys.readouterr().out) == {
        "num_rated_items": 2,
        "num_known_items": 1,
        "items": [{"item_id": "brazil", "predicted_rating": 4.5}],
    }
    client.main(
        ["predict", "--url", server.url, "--json", "--candidate", "été à 東京"]
    )
    printed = capsys.readouterr().out
    assert "été à 東京" in printed
    assert json.loads(printed)["items"] == [
        {"item_id": "été à 東京", "predicted_rating": 3.0, "known": True}
    ]


def test_an_error_is_one_line(closed_url):
    run = run_command("serving.client", "recommend", "--url", closed_url)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == (
        f"error: Nothing listens at {closed_url}. Is the server running?\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["recommend"], "the following arguments are required: --url"),
        (
            ["recommend", "--url", "http://localhost"],
            "`url` must be that of a model, such as"
            " http://localhost:8501/v1/models/recommender. Received:"
            " url='http://localhost'",
        ),
        (
            ["recommend", "--url=x", "--ratings", "a=1"],
            "unrecognized arguments: --ratings a=1",
        ),
        (
            ["recommend", "--url=x", "--num_items=0"],
            "argument --num_items: must be a positive whole number. Received:"
            " '0'",
        ),
        (
            ["predict", "--url=x"],
            "the following arguments are required: --candidate",
        ),
        (
            ["predict", "--url=x", "--candidate="],
            "argument --candidate: must not be empty",
        ),
        *(
            (
                ["recommend", "--url=x", "--rating", rating],
                "argument --rating: must be an item, '=' and a finite number,"
                f" such as 'Heat (1995)=3.5'. Received: '{rating}'",
            )
            for rating in ("alien", "=5", "alien=", "a=nan", "a=inf", "a=five")
        ),
    ],
)
def test_a_bad_flag_is_one_line(capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        client.main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        f"error: {message}. --help lists the flags.\n"
    )


@pytest.mark.parametrize("command", [[], ["recommend"], ["predict"]])
def test_help_is_printed(capsys, command):
    with pytest.raises(SystemExit) as caught:
        client.main([*command, "--help"])
    assert caught.value.code == 0
    assert "python -m serving.client" in capsys.readouterr().out


def test_the_client_needs_the_standard_library_only(server):
    blocked = ["absl", "google", "keras", "numpy", "tensorflow", "uvicorn"]
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({blocked}))\n"
        "from serving import client\n"
        f"client.main(['recommend', '--url', {server.url!r}])\n"
    )
    # Isolated from everything that is installed, too.
    run = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert "alien" in run.stdout
