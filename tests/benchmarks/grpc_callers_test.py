"""The benchmark's callers, who speak HTTP/2 to a server of gRPC's own."""

import contextlib
from concurrent import futures

import grpc
import pytest

from benchmarks import grpc_callers
from benchmarks.grpc_callers import Callers

pytestmark = pytest.mark.integration

METHOD = "/test.Echo/Echo"


@pytest.fixture
def address():
    def echo(request, context):
        if request == b"refuse":
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        return request

    handler = grpc.unary_unary_rpc_method_handler(echo)
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("test.Echo", {"Echo": handler})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


def call(address, messages, num_callers, seconds=0.0):
    seen = []
    callers = Callers(address, METHOD, messages, num_callers, seen.append)
    with contextlib.closing(callers):
        return callers.call(seconds), seen


@pytest.mark.parametrize("num_callers", [1, 64, 65, 300])
def test_each_caller_calls_at_least_once(address, num_callers):
    answers, _ = call(address, [b"message"], num_callers)

    assert len(answers.seconds) == num_callers
    assert 0 < max(answers.seconds) <= answers.elapsed


def test_callers_call_again_until_the_time_is_over(address):
    answers, _ = call(address, [b"message"], 4, seconds=0.5)

    assert len(answers.seconds) > 100
    assert 0.5 <= answers.elapsed < 5


def test_answers_are_what_the_server_sends(address):
    messages = [b"%d" % number for number in range(1000)]

    _, seen = call(address, messages, 201)

    # One in a hundred is looked at.
    assert len(seen) == 3
    assert set(seen) <= set(messages)


@pytest.mark.parametrize("size", [1, 5_000, 16_000])
def test_messages_wait_until_the_server_takes_more(address, size):
    message = b"x" * size

    # More than the 65,535 bytes that a connection takes at first.
    answers, seen = call(address, [message], 64)

    assert len(answers.seconds) == 64
    assert seen == [message]


def test_answers_may_be_more_than_a_connection_takes_at_a_time(
    address, monkeypatch
):
    monkeypatch.setattr(grpc_callers, "_LARGEST_WINDOW", 2**22)

    answers, _ = call(address, [b"x" * 16_000], 64, seconds=1)

    assert len(answers.seconds) * 16_000 > 2**22


def test_a_message_that_needs_two_frames_is_refused(address):
    with pytest.raises(ValueError, match="16380 bytes does not fit"):
        call(address, [b"x" * 16_380], 1)


def test_a_refusal_is_an_error_that_shows_it(address):
    with pytest.raises(RuntimeError, match=r"a call failed.*not now"):
        call(address, [b"refuse"], 1)
