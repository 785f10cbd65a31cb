"""Batches requests: several clients' rows in one run of the model."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from serving.local_server.config_files import BatchingParameters
from serving.local_server.errors import RequestError, refuse
from serving.local_server.model import Arrays, ModelVersion
from serving.protocol import Code


class _Key(NamedTuple):
    """What the requests of one batch have in common."""

    version: ModelVersion
    signature_name: str
    output_names: tuple[str, ...]
    # Of each input, without the batch dimension.
    shapes: tuple[tuple[int, ...], ...]


class _Request(NamedTuple):
    inputs: Arrays
    num_rows: int
    due_at: float
    outputs: "asyncio.Future[Arrays]"


class _Queue(deque[_Request]):
    """Requests of one key that wait, and their number of rows."""

    num_rows = 0

    def put(self, request: _Request) -> None:
        self.append(request)
        self.num_rows += request.num_rows

    def take(self) -> _Request:
        request = self.popleft()
        self.num_rows -= request.num_rows
        return request


class Batcher:
    """Runs requests of the same signature and shape in batches.

    Inputs are concatenated and outputs split along the batch dimension.
    Requests of different shapes never share a batch; in TensorFlow Serving
    they do, and both fail. When a batch fails, its requests are run one by
    one, so that each gets only its own error.

    A thread that finished a batch takes the next one itself, because the event
    loop is then busy with the answers to the last one.

    Args:
        parameters: the sizes, times and threads.
    """

    def __init__(self, parameters: BatchingParameters):
        self._parameters = parameters
        self._threads = ThreadPoolExecutor(
            parameters.num_batch_threads, parameters.thread_pool_name
        )
        # Guards the attributes below.
        self._lock = threading.Lock()
        self._num_idle_threads = parameters.num_batch_threads
        self._queues: dict[_Key, _Queue] = {}

    async def run(
        self,
        version: ModelVersion,
        signature_name: str,
        inputs: Arrays,
        output_names: Sequence[str],
    ) -> Arrays:
        """Runs a signature in a batch with other requests.

        Args:
            version: the loaded model.
            signature_name: a signature that it has.
            inputs: all inputs of the signature, `(batch_size, ...)` each.
            output_names: the outputs to return.

        Returns:
            The outputs by name, `(batch_size, ...)` each.

        Raises:
            RequestError: if the request cannot be batched, the queue is full,
                or the model refuses or fails.
        """
        num_rows = _count_rows(inputs)
        maximum = self._parameters.max_batch_size
        if num_rows > maximum:
            refuse(
                f"Task size {num_rows} is larger than maximum input batch size"
                f" {maximum}"
            )
        loop = asyncio.get_running_loop()
        key = _Key(
            version,
            signature_name,
            tuple(output_names),
            tuple(inputs[name].shape[1:] for name in sorted(inputs)),
        )
        if num_rows == 0:
            # In TensorFlow Serving it would wait forever.
            return await loop.run_in_executor(
                self._threads, _run_alone, key, inputs, 0
            )
        timeout_seconds = self._parameters.batch_timeout_micros / 1e6
        request = _Request(
            inputs,
            num_rows,
            time.monotonic() + timeout_seconds,
            loop.create_future(),
        )
        self._put(key, request)
        self._wake_thread()
        if timeout_seconds:
            loop.call_later(timeout_seconds, self._wake_thread)
        return await request.outputs

    def _put(self, key: _Key, request: _Request) -> None:
        maximum = self._parameters.max_batch_size
        with self._lock:
            queue = self._queues.setdefault(key, _Queue())
            capacity = maximum * self._parameters.max_enqueued_batches
            if queue.num_rows + request.num_rows > capacity:
                raise RequestError(
                    Code.UNAVAILABLE,
                    "The batch scheduling queue to which this task was"
                    " submitted is full",
                )
            queue.put(request)

    def _wake_thread(self) -> None:
        """Starts running batches in an idle thread, if a batch is due."""
        with self._lock:
            if not self._num_idle_threads or self._find_due_queue() is None:
                return
            self._num_idle_threads -= 1
        self._threads.submit(self._run_batches)

    def _run_batches(self) -> None:
        """Runs batches until none is due."""
        while batch := self._take_batch():
            key, requests = batch
            results: Sequence[Arrays | BaseException]
            try:
                results = _run_batch(
                    key, requests, self._allowed_size(requests)
                )
            except Exception as error:
                results = [error] * len(requests)
            requests[0].outputs.get_loop().call_soon_threadsafe(
                _deliver, requests, results
            )

    def _take_batch(self) -> tuple[_Key, list[_Request]] | None:
        """Takes the next batch that is due; None makes the thread idle."""
        with self._lock:
            while (key := self._find_due_queue()) is not None:
                if requests := self._take_requests(key):
                    return key, requests
            self._num_idle_threads += 1
            return None

    def _find_due_queue(self) -> _Key | None:
        """Finds the due queue whose first request has waited longest."""
        # Timers may fire a little early.
        now = time.monotonic() + 1e-3
        due = [
            (queue[0].due_at, position, key)
            for position, (key, queue) in enumerate(self._queues.items())
            if queue[0].due_at <= now
            or queue.num_rows >= self._parameters.max_batch_size
        ]
        return min(due)[2] if due else None

    def _take_requests(self, key: _Key) -> list[_Request]:
        queue = self._queues[key]
        requests: list[_Request] = []
        num_rows = 0
        while queue:
            if num_rows + queue[0].num_rows > self._parameters.max_batch_size:
                break
            request = queue.take()
            # A canceled request needs no answer.
            if not request.outputs.done():
                requests.append(request)
                num_rows += request.num_rows
        if not queue:
            # Its key would keep a retired version of the model alive.
            del self._queues[key]
        return requests

    def _allowed_size(self, requests: Sequence[_Request]) -> int:
        num_rows = sum(request.num_rows for request in requests)
        sizes = self._parameters.allowed_batch_sizes
        return next((size for size in sizes if size >= num_rows), num_rows)


def _deliver(
    requests: Sequence[_Request], results: Sequence[Arrays | BaseException]
) -> None:
    for request, result in zip(requests, results, strict=True):
        if request.outputs.done():
            continue
        if isinstance(result, BaseException):
            request.outputs.set_exception(result)
        else:
            request.outputs.set_result(result)


def _count_rows(inputs: Arrays) -> int:
    if any(array.ndim == 0 for array in inputs.values()):
        refuse("Batching Run() input tensors must have at least one dimension")
    sizes = {len(array) for array in inputs.values()}
    if len(sizes) != 1:
        refuse(
            "Batching Run() input tensors must have equal 0th-dimension size"
        )
    return sizes.pop()


def _run_batch(
    key: _Key, requests: Sequence[_Request], num_rows: int
) -> list[Arrays | BaseException]:
    """Runs requests in one batch, padded to `num_rows`.

    Returns:
        The outputs of each request, or its error.
    """
    inputs = _concatenate([request.inputs for request in requests], num_rows)
    try:
        outputs = _run_alone(key, inputs, num_rows)
    except RequestError as error:
        if len(requests) == 1:
            return [error]
        return [
            result
            for request in requests
            for result in _run_batch(key, [request], request.num_rows)
        ]
    ends = np.cumsum([request.num_rows for request in requests])
    return [
        {
            name: array[end - request.num_rows : end]
            for name, array in outputs.items()
        }
        for request, end in zip(requests, ends, strict=True)
    ]


def _concatenate(parts: Sequence[Arrays], num_rows: int) -> Arrays:
    inputs: dict[str, np.ndarray] = {}
    for name, last in parts[-1].items():
        arrays = [part[name] for part in parts]
        padding = num_rows - sum(map(len, arrays))
        inputs[name] = np.concatenate([*arrays, *[last[:1]] * padding])
    return inputs


def _run_alone(key: _Key, inputs: Arrays, num_rows: int) -> Arrays:
    outputs = key.version.run(key.signature_name, inputs, key.output_names)
    _check_batched(outputs, num_rows)
    return outputs


def _check_batched(outputs: Mapping[str, np.ndarray], num_rows: int) -> None:
    for array in outputs.values():
        if array.ndim == 0:
            raise RequestError(
                Code.FAILED_PRECONDITION,
                "Batched output tensor has 0 dimensions",
            )
        if len(array) != num_rows:
            raise RequestError(
                Code.FAILED_PRECONDITION,
                "Batched output tensor's 0th dimension does not equal the sum"
                " of the 0th dimension sizes of the input tensors",
            )
