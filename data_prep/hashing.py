"""Stable hashing: MD5 of string columns, and random draws derived from it.

MD5 spreads ids evenly, gives the same result everywhere, and is not used as a
secret here. Preparing a hundred million ratings computes some ten million
digests, so DuckDB computes them, a column at a time.

Reference:
    Rivest, 1992, "The MD5 Message-Digest Algorithm"
    (https://www.rfc-editor.org/rfc/rfc1321).
"""

import fractions
import functools

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

_Hashes = npt.NDArray[np.uint64]

# Bounds the memory. A query costs as much as hashing some 10,000 strings.
_BATCH_SIZE = 1 << 17
# `md5_number` takes the first byte of a digest for the lowest.
_QUERY = f"""
    WITH hashed AS MATERIALIZED (
        SELECT md5_number($1 || string) AS digest FROM strings
    )
    SELECT (digest & {2**64 - 1})::UBIGINT AS first,
    (digest >> 64)::UBIGINT AS last
    FROM hashed
"""


def hash_strings(strings: pa.StringArray, prefix: str = "") -> _Hashes:
    """Computes the MD5 digest of each string.

    Args:
        strings: the strings.
        prefix: a short string put before each of them.

    Returns:
        The first and the last eight bytes of each digest as big-endian
        numbers, uint64 `(num_strings, 2)`.
    """
    digests = np.empty((len(strings), 2), np.uint64)
    for start in range(0, len(strings), _BATCH_SIZE):
        batch = strings.slice(start, _BATCH_SIZE)
        digests[start : start + len(batch)] = _hash_batch(batch, prefix)
    return digests


def draw_uniform(
    user_ids: pa.StringArray,
    item_ids: pa.StringArray,
    users: npt.NDArray[np.int32],
    items: npt.NDArray[np.int32],
    seed: int,
) -> _Hashes:
    """Draws a number for every rating, uniform in [0, 2^64).

    The number depends on the user id, the item id and the seed only: not on
    the order of rows, files, shards or workers. With `h` the first 64 bits of
    an MD5 digest, it is

        mix(h("seed:user:" + user_id) + h("seed:item:" + item_id))

    modulo 2^64, where `mix` is the finalizer of the generator SplitMix64.

    Args:
        user_ids: the ids that `users` refers to.
        item_ids: the ids that `items` refers to.
        users: position in `user_ids` of each rating, `(num_ratings,)`.
        items: position in `item_ids` of each rating, `(num_ratings,)`.
        seed: the seed.

    Returns:
        uint64 `(num_ratings,)`.

    Reference:
        Steele, Lea and Flood, 2014, "Fast splittable pseudorandom number
        generators" (https://doi.org/10.1145/2660193.2660195).
    """
    return _mix(
        _hash_used(user_ids, users, f"{seed}:user:")
        + _hash_used(item_ids, items, f"{seed}:item:")
    )


def to_threshold(probability: fractions.Fraction) -> np.uint64:
    """Returns the number below which a uniform draw falls with `probability`.

    Args:
        probability: at least 0 and less than 1.
    """
    return np.uint64(int(probability * 2**64))


def _hash_batch(strings: pa.StringArray, prefix: str) -> _Hashes:
    with _connect().cursor() as cursor:
        cursor.register("strings", pa.table({"string": strings}))
        table = cursor.sql(_QUERY, params=[prefix]).to_arrow_table()
    digests = np.stack([column.to_numpy() for column in table.columns], 1)
    return digests.byteswap()


@functools.cache
def _connect() -> duckdb.DuckDBPyConnection:
    """Opens a database, whose cursors work side by side in the threads."""
    return duckdb.connect(config={"threads": 1})


def _hash_used(
    ids: pa.StringArray, positions: npt.NDArray[np.int32], prefix: str
) -> _Hashes:
    """Returns the first 64 bits of the digest of the id at each position."""
    used, inverse = np.unique(positions, return_inverse=True)
    return hash_strings(ids.take(pa.array(used)), prefix)[:, 0][inverse]


def _mix(values: _Hashes) -> _Hashes:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(
        0xBF58476D1CE4E5B9
    )
    values = (values ^ (values >> np.uint64(27))) * np.uint64(
        0x94D049BB133111EB
    )
    return values ^ (values >> np.uint64(31))
