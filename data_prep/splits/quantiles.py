"""Finds numbers by their rank among many that lie in many places.

Sixteen bits at a time: in each of four rounds every place counts the next
digits of its numbers, and the sums say in which digit the wanted one is. The
answer is exact, and what is exchanged has one size, however many numbers.
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
class Wanted:
    """A number that is looked for.

    Args:
        share: the share of all numbers that come before it.
        rank: how many of those with its prefix do; `None` before the first
            round.
        prefix: its first bits.
        num_bits: their number.
        exists: whether there are so many numbers at all.
    """

    share: fractions.Fraction
    rank: int | None = None
    prefix: int = 0
    num_bits: int = 0
    exists: bool = True


def count_digits(
    numbers: npt.NDArray[np.float64], wanted: Sequence[Wanted]
) -> npt.NDArray[np.int64]:
    """Counts the next digits of numbers that share the prefix of a wanted one.

    Returns:
        Counts `(num_wanted, 65536)`.
    """
    bits = _to_ordered_bits(numbers)
    return np.stack([_count_digits(bits, number) for number in wanted])


def narrow(
    wanted: Sequence[Wanted], counts: npt.NDArray[np.int64]
) -> list[Wanted]:
    """Returns the wanted numbers with one more digit known."""
    return [
        _narrow(number, row) for number, row in zip(wanted, counts, strict=True)
    ]


def to_number(wanted: Wanted) -> float:
    """Returns the number after the last round, infinity if there is none."""
    if not wanted.exists:
        return float("inf")
    bits = np.array([wanted.prefix], np.uint64)
    return float(
        np.where(bits & _SIGN, bits ^ _SIGN, ~bits).view(np.float64)[0]
    )


def _count_digits(
    bits: npt.NDArray[np.uint64], wanted: Wanted
) -> npt.NDArray[np.int64]:
    if wanted.num_bits:
        shift = np.uint64(_ALL_BITS - wanted.num_bits)
        bits = bits[bits >> shift == np.uint64(wanted.prefix)]
    shift = np.uint64(_ALL_BITS - wanted.num_bits - _DIGIT_BITS)
    digits = (bits >> shift).astype(np.uint16)
    return np.bincount(digits, minlength=1 << _DIGIT_BITS)


def _narrow(wanted: Wanted, counts: npt.NDArray[np.int64]) -> Wanted:
    ends = np.cumsum(counts)
    rank = wanted.rank
    if rank is None:
        rank = int(int(ends[-1]) * wanted.share)
    if rank >= ends[-1]:
        return dataclasses.replace(wanted, rank=rank, exists=False)
    digit = int(np.searchsorted(ends, rank, side="right"))
    return dataclasses.replace(
        wanted,
        rank=rank - int(ends[digit] - counts[digit]),
        prefix=wanted.prefix << _DIGIT_BITS | digit,
        num_bits=wanted.num_bits + _DIGIT_BITS,
    )


def _to_ordered_bits(
    numbers: npt.NDArray[np.float64],
) -> npt.NDArray[np.uint64]:
    """Returns whole numbers in the same order as the numbers."""
    # 0.0 is added for its other zero.
    bits = (numbers + 0.0).view(np.uint64)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)
