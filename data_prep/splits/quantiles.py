"""Exact quantiles of numbers that are spread over many places.

A radix search, sixteen bits at a time: in each of four rounds every place
counts the next digit of its numbers, and the sums tell the digit of the
quantile. The result is exact, and the counts that are exchanged have the same
size however many numbers there are.
"""

import dataclasses
import fractions
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

NUM_ROUNDS = 4

_DIGIT_BITS = 16
_ALL_BITS = NUM_ROUNDS * _DIGIT_BITS
_SIGN = np.uint64(1 << 63)


@dataclasses.dataclass(frozen=True)
class QuantileSearch:
    """The search for one quantile.

    Args:
        share: the share of all numbers that come before the quantile.
        rank: the rank of the quantile among the numbers with its prefix;
            `None` before the first round.
        prefix: the first bits of the quantile, as far as known.
        num_bits: the number of bits known.
        exists: whether there are as many numbers as the rank demands.
    """

    share: fractions.Fraction
    rank: int | None = None
    prefix: int = 0
    num_bits: int = 0
    exists: bool = True

    @property
    def value(self) -> float:
        """The quantile, after the last round; infinity if none exists."""
        if not self.exists:
            return float("inf")
        bits = np.array([self.prefix], np.uint64)
        return float(
            np.where(bits & _SIGN, bits ^ _SIGN, ~bits).view(np.float64)[0]
        )


def count_digits(
    numbers: npt.NDArray[np.float64], searches: Sequence[QuantileSearch]
) -> npt.NDArray[np.int64]:
    """Counts the next digit of the numbers that share each search's prefix.

    Args:
        numbers: the numbers of one place.
        searches: the searches, all after the same number of rounds.

    Returns:
        Counts `(num_searches, 65536)`.
    """
    bits = _to_ordered_bits(numbers)
    return np.stack([_count_digits(bits, search) for search in searches])


def narrow(
    searches: Sequence[QuantileSearch], counts: npt.NDArray[np.int64]
) -> list[QuantileSearch]:
    """Returns the searches with one more digit known.

    Args:
        searches: the searches.
        counts: the sum of `count_digits` over all places.
    """
    return [
        _narrow(search, row)
        for search, row in zip(searches, counts, strict=True)
    ]


def _count_digits(
    bits: npt.NDArray[np.uint64], search: QuantileSearch
) -> npt.NDArray[np.int64]:
    if search.num_bits:
        shift = np.uint64(_ALL_BITS - search.num_bits)
        bits = bits[bits >> shift == np.uint64(search.prefix)]
    shift = np.uint64(_ALL_BITS - search.num_bits - _DIGIT_BITS)
    digits = (bits >> shift).astype(np.uint16)
    return np.bincount(digits, minlength=1 << _DIGIT_BITS)


def _narrow(
    search: QuantileSearch, counts: npt.NDArray[np.int64]
) -> QuantileSearch:
    ends = np.cumsum(counts)
    rank = search.rank
    if rank is None:
        rank = int(int(ends[-1]) * search.share)
    if rank >= ends[-1]:
        return dataclasses.replace(search, rank=rank, exists=False)
    digit = int(np.searchsorted(ends, rank, side="right"))
    return dataclasses.replace(
        search,
        rank=rank - int(ends[digit] - counts[digit]),
        prefix=search.prefix << _DIGIT_BITS | digit,
        num_bits=search.num_bits + _DIGIT_BITS,
    )


def _to_ordered_bits(
    numbers: npt.NDArray[np.float64],
) -> npt.NDArray[np.uint64]:
    """Returns integers in the same order as the numbers."""
    # Adding 0.0 turns -0.0 into 0.0.
    bits = (numbers + 0.0).view(np.uint64)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)
