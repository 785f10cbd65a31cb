"""Lets the workers of a job wait for each other before TensorFlow does.

TensorFlow waits for absent workers for an hour, in an operation that neither
SIGTERM nor a message interrupts. So the workers meet first, at the address
where the first of them will have its TensorFlow server: each tells it its name,
and when all are there it lets them go.
"""

import contextlib
import dataclasses
import select
import socket
import time
from collections.abc import Mapping, Sequence

from absl import logging

from data_prep.dataset.errors import TransientError, UserError

#: Time to wait for absent workers. Machines of one job may start minutes apart.
_SECONDS_TO_MEET = 900.0

#: Time between two lines of the log that name the absent workers.
_SECONDS_TO_REMIND = 30.0

#: Time between two attempts to reach the first worker.
_SECONDS_TO_RETRY = 0.5

_GO = b"go\n"

#: The longest name that a worker sends.
_MAX_NAME_BYTES = 64


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers of a job.

    Attributes:
        addresses: `host:port` of the tasks of each kind, "chief" or "worker".
        kind: the kind of this task.
        index: its place among the tasks of its kind.
    """

    addresses: Mapping[str, Sequence[str]]
    kind: str
    index: int

    @property
    def name(self) -> str:
        """The name of this task, such as "worker 0"."""
        return f"{self.kind} {self.index}"

    def list_tasks(self) -> dict[str, str]:
        """Maps the name of each task to its address, the leader first."""
        return {
            f"{kind} {index}": address
            for kind in ("chief", "worker")
            for index, address in enumerate(self.addresses.get(kind, ()))
        }


def meet(cluster: Cluster, seconds: float = _SECONDS_TO_MEET) -> None:
    """Waits until all workers of a job are there.

    Args:
        cluster: the workers, this one among them.
        seconds: the longest time to wait.

    Raises:
        UserError: the address of this worker, if it is the first, is not one
            of this machine or is taken.
        TransientError: a worker did not come in time.
    """
    tasks = cluster.list_tasks()
    leader = next(iter(tasks))
    if cluster.name == leader:
        _wait_for_others(tasks, leader, seconds)
    else:
        _wait_for_leader(cluster.name, leader, tasks[leader], seconds)


def _wait_for_others(
    tasks: Mapping[str, str], leader: str, seconds: float
) -> None:
    """Lets all others go once each has a connection that is open."""
    _, port = _split_address(tasks[leader])
    is_dual = socket.has_dualstack_ipv6()
    try:
        # gRPC listens on all addresses of the machine as well.
        server = socket.create_server(
            ("", port),
            family=socket.AF_INET6 if is_dual else socket.AF_INET,
            backlog=len(tasks),
            dualstack_ipv6=is_dual,
        )
    except OSError as error:
        raise UserError(
            f"{leader} cannot listen on {tasks[leader]}, its address in"
            f" TF_CONFIG: {error.strerror}. Name a free port of this machine."
        ) from error
    present: dict[str, socket.socket] = {}
    deadline = time.monotonic() + seconds
    try:
        while absent := [
            f"{name} ({address})"
            for name, address in tasks.items()
            if name != leader and name not in present
        ]:
            if time.monotonic() > deadline:
                raise TransientError(_describe_absent(absent, seconds))
            _remind(", ".join(absent))
            _note_who_comes_and_goes(server, present, tasks)
        for connection in present.values():
            # One that is lost only now is lost to TensorFlow, too.
            with contextlib.suppress(OSError):
                connection.sendall(_GO)
    finally:
        for connection in (server, *present.values()):
            connection.close()


def _note_who_comes_and_goes(
    server: socket.socket,
    present: dict[str, socket.socket],
    tasks: Mapping[str, str],
) -> None:
    """Waits at most a second for a change among the others."""
    ready, _, _ = select.select([server, *present.values()], (), (), 1.0)
    for name, connection in list(present.items()):
        # Workers say nothing after their names: it is the end of the stream.
        if connection in ready:
            connection.close()
            del present[name]
    if server not in ready:
        return
    connection, _ = server.accept()
    connection.settimeout(1.0)
    try:
        name = connection.recv(_MAX_NAME_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError):
        name = ""
    # A stranger, such as a health check, has no name to tell.
    if name not in tasks:
        connection.close()
        return
    # A task that was started again comes instead of the one that was there.
    if name in present:
        present[name].close()
    present[name] = connection


def _wait_for_leader(
    name: str, leader: str, address: str, seconds: float
) -> None:
    """Tells the leader its name until it is let go."""
    deadline = time.monotonic() + seconds
    reason = ""
    while (now := time.monotonic()) < deadline:
        try:
            with socket.create_connection(
                _split_address(address), timeout=_SECONDS_TO_REMIND
            ) as connection:
                connection.sendall(f"{name}\n".encode())
                logging.info("%s is there and waits for the others.", leader)
                connection.settimeout(max(deadline - now, 1.0))
                # Anything else is TensorFlow's server: the others have met
                # already, and it decides about one who is late.
                if connection.recv(len(_GO)):
                    return
                reason = ", which ended"
        except OSError as error:
            reason = f": {error.strerror or error}"
        _remind(f"{leader} ({address}){reason}")
        time.sleep(_SECONDS_TO_RETRY)
    raise TransientError(
        _describe_absent([f"{leader} ({address}){reason}"], seconds)
    )


def _remind(absent: str) -> None:
    logging.log_every_n_seconds(
        logging.INFO, "Waits for %s.", _SECONDS_TO_REMIND, absent
    )


def _describe_absent(absent: Sequence[str], seconds: float) -> str:
    return (
        f"the job did not start: waited {seconds / 60:.3g} minutes for"
        f" {', '.join(absent)}. Start all workers with the same command and"
        " the TF_CONFIG of each, on machines that reach each other."
    )


def _split_address(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(
            f"TF_CONFIG must name workers as HOST:PORT. Received: {address!r}"
        )
    return host.strip("[]"), int(port)
