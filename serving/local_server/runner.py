"""What REST and gRPC share: where the work of a request is done."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from serving.local_server.batching import Batcher
from serving.local_server.model import Arrays, ModelVersion
from serving.protocol import Code, RequestError

_T = TypeVar("_T")

# Reading or writing this much takes about as long as to hand it to a thread.
_SMALL_BYTES = 2**15


class Runner:
    """Runs the requests of both protocols, all in one event loop.

    Args:
        batcher: if given, it runs the models.
        max_concurrent_requests: how many requests may be under way.
    """

    def __init__(self, batcher: Batcher | None, max_concurrent_requests: int):
        self._batcher = batcher
        self._max_concurrent_requests = max_concurrent_requests
        self._num_running = 0

    @contextlib.contextmanager
    def admit(self) -> Iterator[None]:
        """Counts a request as under way.

        Raises:
            RequestError: if there are too many.
        """
        if self._num_running >= self._max_concurrent_requests:
            raise RequestError(
                Code.RESOURCE_EXHAUSTED,
                f"{self._max_concurrent_requests} requests are under way, as"
                " many as this server takes.",
            )
        self._num_running += 1
        try:
            yield
        finally:
            self._num_running -= 1

    async def run(
        self,
        version: ModelVersion,
        signature_name: str,
        inputs: Arrays,
        output_names: Sequence[str],
    ) -> Arrays:
        """Runs a signature on all of its inputs.

        Raises:
            RequestError: if the model refuses or fails.
        """
        if self._batcher is not None:
            return await self._batcher.run(
                version, signature_name, inputs, output_names
            )
        return await asyncio.to_thread(
            version.run, signature_name, inputs, output_names
        )


async def call(
    num_bytes: int, function: Callable[..., _T], *arguments: object
) -> _T:
    """Calls a function, in a thread if it has much to do.

    Args:
        num_bytes: how much it is to read or write.
        function: what to call.
        *arguments: what to call it with.
    """
    if num_bytes > _SMALL_BYTES:
        return await asyncio.to_thread(function, *arguments)
    return function(*arguments)
