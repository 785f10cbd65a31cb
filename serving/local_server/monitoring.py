"""Metrics of the server in the format and names of TensorFlow Serving."""

import asyncio
import bisect
import contextlib
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator

from serving.local_server.errors import RequestError
from serving.protocol import Code

# Upper limits of the latency buckets in microseconds, up to 24 minutes.
_LIMITS = [10 * 1.8**power for power in range(33)]

# A client that makes up model names would add a series with each.
_MAX_SERIES = 1000

_REQUEST_COUNT = ":tensorflow:serving:request_count"
_REQUEST_LATENCY = ":tensorflow:serving:request_latency"

_Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Counts requests, and the latency of those that succeed.

    Only the first thousand combinations of labels are counted, so that clients
    cannot fill the memory with made-up model names. Not thread-safe: use it
    only on the event-loop thread.
    """

    def __init__(self) -> None:
        self._counts: dict[_Labels, int] = defaultdict(int)
        self._buckets: dict[_Labels, list[int]] = {}
        self._sums: dict[_Labels, float] = defaultdict(float)

    @contextlib.contextmanager
    def measure(
        self, model_name: str, api: str, entrypoint: str
    ) -> Iterator[None]:
        """Counts the request that the `with` block answers, and times it.

        Args:
            model_name: the model named in the request.
            api: the method: "predict" over REST, "Predict" over gRPC.
            entrypoint: REST or GRPC.
        """
        start = time.perf_counter()
        code = Code.INTERNAL
        try:
            yield
            code = Code.OK
        except RequestError as error:
            code = error.code
            raise
        except asyncio.CancelledError:
            code = Code.CANCELLED
            raise
        finally:
            self._count(model_name, code)
            if code == Code.OK:
                labels = (
                    ("model_name", model_name),
                    ("API", api),
                    ("entrypoint", entrypoint),
                )
                self._note_latency(labels, time.perf_counter() - start)

    def _count(self, model_name: str, code: Code) -> None:
        labels = (("model_name", model_name), ("status", code.name))
        if labels in self._counts or len(self._counts) < _MAX_SERIES:
            self._counts[labels] += 1

    def _note_latency(self, labels: _Labels, seconds: float) -> None:
        microseconds = seconds * 1e6
        buckets = self._buckets.setdefault(labels, [0] * (len(_LIMITS) + 1))
        buckets[bisect.bisect_right(_LIMITS, microseconds)] += 1
        self._sums[labels] += microseconds

    def page(self) -> bytes:
        """Formats the metrics as Prometheus reads them, in microseconds."""
        lines = [*self._count_lines(), *self._latency_lines()]
        return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")

    def _count_lines(self) -> Iterator[str]:
        yield f"# TYPE {_REQUEST_COUNT} counter"
        for series, count in self._counts.items():
            yield f"{_REQUEST_COUNT}{{{_join(series)}}} {count}"

    def _latency_lines(self) -> Iterator[str]:
        yield f"# TYPE {_REQUEST_LATENCY} histogram"
        limits = [*(f"{limit:g}" for limit in _LIMITS), "+Inf"]
        for series, buckets in self._buckets.items():
            labels = _join(series)
            total = 0
            for limit, count in zip(limits, buckets, strict=True):
                total += count
                bucket = f'{labels},le="{limit}"'
                yield f"{_REQUEST_LATENCY}_bucket{{{bucket}}} {total}"
            microseconds = self._sums[series]
            yield f"{_REQUEST_LATENCY}_sum{{{labels}}} {microseconds:.10g}"
            yield f"{_REQUEST_LATENCY}_count{{{labels}}} {total}"


def _join(series: Iterable[tuple[str, str]]) -> str:
    return ",".join(f'{name}="{_escape(value)}"' for name, value in series)


_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def _escape(value: str) -> str:
    return value.translate(_ESCAPES)
