"""How the commands listen for HTTP: a socket, and uvicorn on it."""

import socket
from typing import Any

import uvicorn


def bind(host: str, port: int) -> socket.socket:
    """Takes an address, port 0 for a free one.

    Connections are refused until somebody listens.

    Raises:
        OSError: it cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off, which would cost every answer 40 ms,
    # only where the protocol is given.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    return listener


def find_address(listener: socket.socket) -> tuple[str, int]:
    """Returns host, as URLs have it, and port of a socket."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]" if ":" in host else host, port


def configure(app: Any, **settings: Any) -> uvicorn.Config:
    """Returns how uvicorn serves an ASGI application."""
    return uvicorn.Config(
        app,
        # Not what happens to be installed.
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        # Malformed requests are the business of those who send them.
        log_level="error",
        access_log=False,
        **settings,
    )
