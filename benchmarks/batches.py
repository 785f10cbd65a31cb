"""Generates batches of ratings over any catalog, to time training steps."""

from collections.abc import Iterator

import numpy as np

#: User and item of each rating, in order, and the ratings.
Batch = tuple[np.ndarray, np.ndarray]


def make_batches(
    num_batches: int, num_items: int, batch_size: int, ratings_per_user: int
) -> Iterator[Batch]:
    """Generates users of log-normal activity who rate popular items more.

    The probability of the item of rank `r` is proportional to `1 / (r + 10)`;
    a user rates an item at most once.

    Args:
        num_batches: number of batches.
        num_items: size of the catalog.
        batch_size: users per batch.
        ratings_per_user: mean number of ratings per user.

    Yields:
        Indices `(num_ratings, 2)`, int64, sorted, and ratings
        `(num_ratings,)`, float32.
    """
    rng = np.random.default_rng(1)
    popularity = np.cumsum(1 / (np.arange(num_items) + 10.0))
    popularity /= popularity[-1]
    for _ in range(num_batches):
        counts = rng.lognormal(0, 1, batch_size)
        counts *= ratings_per_user / counts.mean()
        items = [
            _choose_items(rng, popularity, int(count))
            for count in np.clip(counts, 1, num_items // 2)
        ]
        users = np.repeat(np.arange(batch_size), [len(i) for i in items])
        indices = np.stack([users, np.concatenate(items)], axis=1)
        yield indices, rng.integers(1, 6, len(indices)).astype(np.float32)


def _choose_items(
    rng: np.random.Generator, popularity: np.ndarray, count: int
) -> np.ndarray:
    """Draws a number of distinct items, int64 `(count,)`, ascending."""
    chosen = np.empty(0, np.int64)
    while len(chosen) < count:
        draws = np.searchsorted(popularity, rng.random(count), side="right")
        draws = np.concatenate([chosen, draws])
        _, first_places = np.unique(draws, return_index=True)
        chosen = draws[np.sort(first_places)[:count]]
    return np.sort(chosen)
