"""REST calls share connections, as long as the server keeps them open."""

import concurrent.futures
import contextlib
import http.server
import json
import os
import random
import threading
import time

import pytest

from serving.client import Client, ServingError
from tests.serving.canned import MODEL, scripted_server

pytestmark = pytest.mark.integration


def http_answer(num_known_items):
    body = json.dumps(
        {
            "predictions": [
                {
                    "item_ids": [],
                    "predicted_ratings": [],
                    "num_known_items": num_known_items,
                }
            ]
        }
    ).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def ask(client):
    return client.recommend({"a": 1}).num_known_items


def ask_when_hung_up(client):
    """Asks once the end of the server's last connection has arrived."""
    time.sleep(0.1)
    return ask(client)


def test_calls_share_a_connection():
    answers = [http_answer(number) for number in range(3)]
    with scripted_server(answers) as (url, requests):
        client = Client(url, pads=False)
        assert [ask(client) for _ in answers] == [0, 1, 2]
    assert len(requests) == 3


def test_an_error_leaves_the_connection_open():
    refusal = b"HTTP/1.1 400 Bad\r\nContent-Length: 15\r\n\r\n" + (
        b'{"error": "no"}'
    )
    with scripted_server([refusal, http_answer(1)]) as (url, _):
        client = Client(url, pads=False)
        with pytest.raises(ServingError, match="no"):
            ask(client)
        assert ask(client) == 1


def test_a_connection_that_the_server_closed_is_replaced_without_a_retry():
    with scripted_server([http_answer(1)], [http_answer(2)]) as (url, requests):
        client = Client(url, pads=False, max_retries=0)
        assert ask(client) == 1
        assert ask_when_hung_up(client) == 2
    assert len(requests) == 2


def test_a_kept_connection_that_closes_on_the_request_is_a_retry(monkeypatch):
    monkeypatch.setattr(random, "uniform", lambda low, high: 0.0)
    with scripted_server([http_answer(1), b""], [http_answer(2)]) as (url, log):
        client = Client(url, pads=False, max_retries=1)
        assert ask(client) == 1
        assert ask(client) == 2
    assert len(log) == 3


def test_retries_of_a_closed_connection_are_limited_as_any():
    with scripted_server([http_answer(1), b""]) as (url, log):
        client = Client(url, pads=False, max_retries=0)
        assert ask(client) == 1
        with pytest.raises(ServingError, match="Cannot talk to") as caught:
            ask(client)
    assert caught.value.is_retriable
    assert len(log) == 2


def test_a_new_connection_that_closes_on_the_request_is_no_retry():
    with scripted_server([b""]) as (url, log):
        client = Client(url, pads=False)
        with pytest.raises(ServingError, match="Cannot talk to") as caught:
            ask(client)
    assert not caught.value.is_retriable
    assert len(log) == 1


def test_the_rest_of_a_late_answer_is_not_read_as_the_next_one():
    late, next_answer = http_answer(1), http_answer(2)
    with scripted_server([late[:-9], late[-9:]], [next_answer]) as (url, _):
        client = Client(url, 0.3, pads=False)
        with pytest.raises(ServingError, match=r"Timed out after 0\.3 seconds"):
            ask(client)
        assert ask(client) == 2


def test_the_deadline_of_a_call_is_its_own():
    with scripted_server([http_answer(1), b"HTTP/1.1 200", b""]) as (url, _):
        client = Client(url, 0.5, pads=False)
        assert ask(client) == 1
        time.sleep(0.4)
        start = time.monotonic()
        with pytest.raises(ServingError, match=r"Timed out after 0\.5 seconds"):
            ask(client)
        assert 0.4 < time.monotonic() - start < 2


def test_bytes_that_nobody_asked_for_end_the_connection():
    # More than an answer's reader takes from the socket ahead.
    unasked = http_answer(1) + http_answer(7) * 1000
    with scripted_server([unasked, b""], [http_answer(2)]) as (url, _):
        client = Client(url, pads=False, max_retries=0)
        assert ask(client) == 1
        assert ask_when_hung_up(client) == 2


def test_a_forked_process_makes_connections_of_its_own(monkeypatch):
    with scripted_server([http_answer(1), b""], [http_answer(2)]) as (url, _):
        client = Client(url, pads=False, max_retries=0)
        assert ask(client) == 1
        process_id = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: process_id + 1)
        assert ask(client) == 2


def test_closing_a_client_closes_its_connections_and_it_can_go_on():
    with scripted_server([http_answer(1), b""], [http_answer(2)]) as (url, _):
        client = Client(url, pads=False, max_retries=0)
        assert ask(client) == 1
        client.close()
        assert ask(client) == 2


def test_threads_that_share_a_client_get_their_own_answers():
    addresses = set()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            addresses.add(self.client_address)
            length = int(self.headers["Content-Length"])
            (row,) = json.loads(self.rfile.read(length))["instances"]
            self.wfile.write(http_answer(len(row["item_ids"])))

        def log_message(self, *_):
            pass

    num_threads, num_calls = 8, 25
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}{MODEL}"
        barrier = threading.Barrier(num_threads)

        def call(number):
            barrier.wait(30)
            ratings = [("a", 1.0)] * number
            return [
                client.recommend(ratings).num_known_items
                for _ in range(num_calls)
            ]

        with (
            contextlib.closing(Client(url, pads=False)) as client,
            concurrent.futures.ThreadPoolExecutor(num_threads) as executor,
        ):
            answers = list(executor.map(call, range(num_threads)))
        server.shutdown()
        thread.join()
    assert answers == [[number] * num_calls for number in range(num_threads)]
    assert len(addresses) <= num_threads
