"""Listens for HTTP: a bound socket, and the configuration of uvicorn."""

import socket
from typing import Any

import uvicorn


def bind(host: str, port: int) -> socket.socket:
    """Returns a socket bound to an address.

    Connections are refused until `listen` is called, by uvicorn or before.

    Args:
        host: the name or the IP address.
        port: the port; 0 for a free one.

    Raises:
        OSError: if the address is not available.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio disables Nagle's algorithm, which would delay answers by 40 ms,
    # only on a socket whose protocol is given.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    return listener


def find_address(listener: socket.socket) -> tuple[str, int]:
    """Returns the host of a bound socket, as in URLs, and its port."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]" if ":" in host else host, port


def configure(app: Any, **settings: Any) -> uvicorn.Config:
    """Returns the configuration of uvicorn for an ASGI application."""
    return uvicorn.Config(
        app,
        # Independent of what happens to be installed.
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        # A malformed request is the client's error, not the server's.
        log_level="error",
        access_log=False,
        **settings,
    )
