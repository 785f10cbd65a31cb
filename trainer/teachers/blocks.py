"""Shares loops between threads, with the same result for any number."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

#: Parts of a loop. Not the machine's number of processors: where threads add
#: up, the parts are what rounding depends on.
NUM_BLOCKS = 8

_THREADS = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="blocks")


def run_in_blocks(function: Callable[..., None], size: int, *args: Any) -> None:
    """Calls `function(first, end, *args)` for the parts of `range(size)`.

    Args:
        function: releases the interpreter's lock.
        size: number of users, or of ratings.
        *args: what else it takes.
    """
    run_each_block(function, size, [args] * NUM_BLOCKS)


def run_each_block(
    function: Callable[..., None], size: int, args: list[tuple[Any, ...]]
) -> None:
    """As `run_in_blocks`, with arguments of its own for each part."""
    bounds = [size * block // NUM_BLOCKS for block in range(NUM_BLOCKS + 1)]
    calls = [
        _THREADS.submit(function, first, end, *own)
        for first, end, own in zip(bounds[:-1], bounds[1:], args, strict=True)
    ]
    for call in calls:
        call.result()
