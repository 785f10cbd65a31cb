"""Runs requests of both APIs: admission, threads, batching; refusals."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn, TypeVar

from google.protobuf import text_format  # type: ignore[import-untyped]

from serving.local_server.batching import Batcher
from serving.local_server.errors import RequestError, refuse
from serving.local_server.model import Arrays, ModelVersion
from serving.protocol import RECOMMEND, Code

# Method names of classification and regression signatures, of tf.Examples.
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"

_T = TypeVar("_T")

# Parsing or formatting this much takes about as long as a switch of threads.
_SMALL_BYTES = 2**15


class InferenceRunner:
    """Runs the predict requests of REST and gRPC, all in one event loop.

    Args:
        batcher: runs the model on batches of requests; None runs each request
            alone, in a thread of its own.
        max_concurrent_requests: the most requests in flight.
    """

    def __init__(self, batcher: Batcher | None, max_concurrent_requests: int):
        self._batcher = batcher
        self._max_concurrent_requests = max_concurrent_requests
        self._num_running = 0

    @contextlib.contextmanager
    def admit(self) -> Iterator[None]:
        """Counts a request as in flight.

        Raises:
            RequestError: if too many are, with the code RESOURCE_EXHAUSTED.
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
        """Runs a signature.

        Args:
            version: the loaded model.
            signature_name: a signature that it has.
            inputs: all inputs of the signature, `(batch_size, ...)` each.
            output_names: the outputs to return.

        Returns:
            The outputs by name, `(batch_size, ...)` each.

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


async def call_by_size(
    num_bytes: int, function: Callable[..., _T], *arguments: object
) -> _T:
    """Calls a function, in a thread if it would hold up the event loop.

    Args:
        num_bytes: the size of what it parses or formats.
        function: the function.
        *arguments: its arguments.
    """
    if num_bytes > _SMALL_BYTES:
        return await asyncio.to_thread(function, *arguments)
    return function(*arguments)


def refuse_examples(
    version: ModelVersion, method_name: str, signature_name: str
) -> NoReturn:
    """Refuses to classify or to regress, in TensorFlow Serving's words.

    Both need signatures over tf.Examples whose tensors have certain names. The
    models of this project have none.

    Args:
        version: the loaded model.
        method_name: CLASSIFY or REGRESS.
        signature_name: the signature to use, "" for the default.

    Raises:
        RequestError: always.
    """
    name = signature_name or RECOMMEND
    signature = version.signature_defs.get(name)
    if signature is None:
        refuse(f"No signature was found with the name: {name}")
    if len(signature.inputs) != 1:
        refuse("Expected one input Tensor.")
    num_outputs = len(signature.outputs)
    if method_name == CLASSIFY and num_outputs not in (1, 2):
        refuse(f"Expected one or two output Tensors, found {num_outputs}")
    if method_name == REGRESS and num_outputs != 1:
        refuse("Expected one output Tensor.")
    noun = "classification" if method_name == CLASSIFY else "regression"
    if "inputs" not in signature.inputs:
        raise RequestError(
            Code.FAILED_PRECONDITION,
            f"No {noun} inputs found in SignatureDef:"
            f" {text_format.MessageToString(signature)}",
        )
    raise RequestError(
        Code.UNIMPLEMENTED,
        f"This server has no {noun}: signatures are for predict.",
    )
