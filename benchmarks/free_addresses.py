"""Finds addresses on this machine for the processes of a job."""

import contextlib
import socket


def find_free_addresses(count: int) -> list[str]:
    """Returns addresses that nobody listens to at present, `localhost:PORT`."""
    with contextlib.ExitStack() as stack:
        # All are held at once, so that they differ.
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("localhost", 0))
        return [f"localhost:{one.getsockname()[1]}" for one in sockets]
