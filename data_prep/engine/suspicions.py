"""Suspects ratings, times and columns that are probably something else.

The rules, for which MovieLens, half stars, zeros on a scale that has them and
counts with a long tail give no cause:

- A rating means "not rated" if it is the lowest or the highest one, makes up
  0.1 % of all or more, and

  - is more than twice as far from the others as these are apart, such as 99
    beside -10 to 10; or
  - is the only negative one and close to 0, such as -1 beside 0 to 10; or
  - is 0, all others are positive, and there are three times as many zeros as
    of each of the two ratings next to it, such as 0 beside 1 to 10.

- Ratings tell nothing if all are the same, as marks of what was bought are.
- Ratings are times if all of them would be Unix times of 1973 or later.
- Times are something else, such as ranks, if all are in 1970.
- Users and items are exchanged if there are 20 times as many items as users,
  with fewer than 20 ratings each.
"""

import dataclasses
import datetime
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from data_prep.ratings import Histogram, Statistics

# Fewer ratings of one value are hardly worth a question.
_MIN_SHARE, _MIN_COUNT = 0.001, 2
# How much farther than the others are apart.
_FAR = 2
# A negative value is close to 0 if the highest one is so many times as far.
_CLOSE = 3
# Zeros are too many beside the ratings next to them. Scales have few steps.
_TOO_MANY, _MAX_STEPS = 3, 20
# Unix times of 1973-03-03 and of 1971-01-01, in seconds.
_EARLIEST_TIME, _END_OF_1970 = 1e8, 365 * 24 * 60 * 60
_MANY_ITEMS, _FEW_RATINGS = 20, 20


def suspect_values(statistics: Statistics) -> Iterator[str]:
    """Yields a sentence for each suspicion about ratings and times.

    Args:
        statistics: the statistics of all ratings, at least one.
    """
    lowest, highest = statistics.rating_range
    if lowest >= _EARLIEST_TIME:
        yield (
            f"All ratings are from {lowest:.10g} to {highest:.10g}: they look"
            " like times. Name the columns with --rating-column and"
            " --timestamp-column."
        )
        return
    if lowest == highest and statistics.num_ratings > 1:
        yield (
            f"All {statistics.num_ratings:,} ratings are {lowest:g}: they do"
            " not say what people like better. If another column does, name"
            " it with --rating-column."
        )
    yield from _describe_missing(statistics)
    first, last = statistics.time_range
    if statistics.num_timestamps and first >= 0 and last < _END_OF_1970:
        start, end = (
            datetime.datetime.fromtimestamp(seconds, datetime.UTC)
            for seconds in (first, last)
        )
        yield (
            f"All times are in 1970, from {start:%Y-%m-%d %H:%M} to"
            f" {end:%Y-%m-%d %H:%M}: they are {first:.10g} to {last:.10g}"
            " seconds since 1970. If that is wrong, give Unix seconds, Unix"
            " milliseconds or ISO dates, or name another --timestamp-column."
        )


def suspect_columns(
    num_users: int, num_items: int, num_ratings: int
) -> Iterator[str]:
    """Yields a sentence if users and items seem to be exchanged."""
    if (
        num_items >= _MANY_ITEMS * num_users
        and num_ratings < _FEW_RATINGS * num_items
    ):
        yield (
            f"There are {num_items:,} items of {num_ratings / num_items:.1f}"
            f" ratings on average, and only {num_users:,} users. If they are"
            " exchanged, name the columns with --user-column and"
            " --item-column."
        )


def _describe_missing(statistics: Statistics) -> Iterator[str]:
    values = list(_find_missing(statistics))
    if not values:
        return
    histogram = statistics.histogram
    counts = dict(zip(histogram.values.tolist(), histogram.counts, strict=True))
    suspects = " and ".join(
        f"{value:g} ({counts[value]:,} of {statistics.num_ratings:,} ratings,"
        f" {100 * counts[value] / statistics.num_ratings:.1f} %)"
        for value in values
    )
    others = [value for value in counts if value not in values]
    flag = ",".join(f"{value:g}" for value in values)
    yield (
        f"{suspects} may mean 'not rated': the other ratings are from"
        f" {min(others):g} to {max(others):g}. If so, leave it out with"
        f" --missing-value={flag}."
    )


def _find_missing(statistics: Statistics) -> Iterator[float]:
    """Yields the values that may mean "not rated"."""
    histogram = statistics.histogram
    least = max(_MIN_SHARE * statistics.num_ratings, _MIN_COUNT)
    while len(histogram.values) > 2:
        values, counts = histogram.values, histogram.counts
        if counts[-1] >= least and _is_far(-values[::-1]):
            suspect = len(values) - 1
        elif counts[0] >= least and (
            _is_far(values)
            or _is_close_to_zero(values)
            or _are_too_many_zeros(histogram)
        ):
            suspect = 0
        else:
            return
        yield float(values[suspect])
        histogram = dataclasses.replace(
            histogram,
            values=np.delete(values, suspect),
            counts=np.delete(counts, suspect),
        )


def _is_far(values: npt.NDArray[np.float64]) -> bool:
    """Returns whether the first of ascending values is far from the others."""
    return bool(values[1] - values[0] > _FAR * (values[-1] - values[1]))


def _is_close_to_zero(values: npt.NDArray[np.float64]) -> bool:
    is_alone = values[0] < 0 <= values[1]
    return bool(is_alone and values[-1] >= -_CLOSE * values[0])


def _are_too_many_zeros(histogram: Histogram) -> bool:
    values, counts = histogram.values, histogram.counts
    return bool(
        values[0] == 0
        and len(values) <= _MAX_STEPS + 1
        and counts[0] > _TOO_MANY * counts[1:3].max()
    )
