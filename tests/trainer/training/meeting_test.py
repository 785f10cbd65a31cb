import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.free_addresses import find_free_addresses
from data_prep.dataset.errors import TransientError, UserError
from trainer.training.meeting import Cluster, meet


def make_cluster(num_workers):
    """Returns what each task of a job knows, the chief first."""
    chief, *workers = find_free_addresses(num_workers)
    addresses = {"chief": [chief], "worker": workers}
    return [
        Cluster(addresses, "chief", 0),
        *(Cluster(addresses, "worker", i) for i in range(len(workers))),
    ]


def connect(cluster):
    """Connects to the first task as soon as it listens."""
    host, port = cluster.addresses["chief"][0].split(":")
    while True:
        try:
            return socket.create_connection((host, int(port)), timeout=10)
        except ConnectionRefusedError:
            time.sleep(0.01)


@pytest.mark.parametrize("last", [0, 1, 2])
def test_whoever_is_last_the_workers_meet(last):
    tasks = make_cluster(3)
    early = [task for i, task in enumerate(tasks) if i != last]
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(meet, task, 30) for task in early]
        time.sleep(0.2)
        assert not any(future.done() for future in waiting)
        meet(tasks[last], 30)
        for future in waiting:
            future.result(timeout=30)


def test_without_a_chief_the_first_worker_lets_the_others_go():
    addresses = {"worker": find_free_addresses(2)}
    with ThreadPoolExecutor() as pool:
        for future in [
            pool.submit(meet, Cluster(addresses, "worker", index), 30)
            for index in (0, 1)
        ]:
            future.result(timeout=30)


def test_a_worker_that_does_not_come_is_named():
    chief, present, absent = make_cluster(3)
    address = absent.addresses["worker"][1]
    with ThreadPoolExecutor() as pool:
        other = pool.submit(meet, present, 2)
        with pytest.raises(
            TransientError, match=rf"minutes for worker 1 \({address}\)\. Start"
        ):
            meet(chief, 0.5)
        with pytest.raises(TransientError, match=r"for chief 0 \(localhost"):
            other.result(timeout=30)


def test_a_worker_that_ended_while_it_waited_is_absent_again():
    chief, _, _ = make_cluster(3)
    with ThreadPoolExecutor() as pool:
        leader = pool.submit(meet, chief, 1.5)
        with connect(chief) as connection:
            connection.sendall(b"worker 0\n")
            other = connect(chief)
            other.sendall(b"worker 0\n")
            # The one that came later is heard.
            assert connection.recv(1) == b""
        other.close()
        with pytest.raises(TransientError, match=r"worker 0 .*, worker 1"):
            leader.result(timeout=30)


def test_strangers_are_no_workers():
    chief, worker = make_cluster(2)
    with ThreadPoolExecutor() as pool:
        leader = pool.submit(meet, chief, 30)
        for text in (b"GET / HTTP/1.1\r\n\r\n", b"\xff\xfe", b"worker 7\n"):
            with connect(chief) as stranger:
                stranger.sendall(text)
                assert stranger.recv(1) == b""
        assert not leader.done()
        meet(worker, 30)
        leader.result(timeout=30)


def test_a_worker_that_finds_a_server_of_tensorflow_does_not_wait():
    chief, worker = make_cluster(2)
    host, port = chief.addresses["chief"][0].split(":")

    def serve(server):
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"\x00\x00\x12\x04")
            connection.recv(100)

    with socket.create_server((host, int(port))) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        meet(worker, 30)
        thread.join(timeout=30)
        assert not thread.is_alive()


def test_an_address_that_is_taken_is_named():
    chief, _ = make_cluster(2)
    address = chief.addresses["chief"][0]
    with (
        socket.create_server(("", int(address.split(":")[1]))),
        pytest.raises(UserError, match=rf"chief 0 cannot listen on {address}"),
    ):
        meet(chief, 1)


def test_an_address_without_a_port_is_refused():
    cluster = Cluster({"chief": ["a"], "worker": ["b:2"]}, "chief", 0)
    with pytest.raises(UserError, match=r"HOST:PORT\. Received: 'a'"):
        meet(cluster, 1)
