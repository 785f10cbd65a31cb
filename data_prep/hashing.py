"""Stable hashing: MD5 of string columns, and random draws derived from it.

MD5 spreads ids evenly, gives the same result everywhere, and is not used as a
secret here. Preparing a hundred million ratings computes some ten million
digests, so RFC 1321 is applied to whole columns at once instead of one string
at a time.

Reference:
    Rivest, 1992, "The MD5 Message-Digest Algorithm"
    (https://www.rfc-editor.org/rfc/rfc1321).
"""

import fractions
import hashlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_Words = npt.NDArray[np.uint32]
_Hashes = npt.NDArray[np.uint64]

_BATCH_SIZE = 1 << 14
_BLOCK_BYTES = 64
# The longest string that fits one block together with the MD5 padding.
_MAX_SHORT_BYTES = 55

# Constants of section 3.4 of the RFC: the sine table, the shifts of the four
# rounds, and the order in which each round takes the words of the block.
_SINES = np.floor(2**32 * np.abs(np.sin(np.arange(1, 65)))).astype(np.uint32)
_SHIFTS = [(7, 12, 17, 22), (5, 9, 14, 20), (4, 11, 16, 23), (6, 10, 15, 21)]
_STRIDES = [(1, 0), (5, 1), (3, 5), (7, 0)]
_INITIAL_STATE = [0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476]


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
        digests[start : start + len(batch)] = _hash_batch(
            batch, prefix.encode()
        )
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


def _hash_batch(strings: pa.StringArray, prefix: bytes) -> _Hashes:
    _, offsets_buffer, data_buffer = strings.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[strings.offset :][
        : len(strings) + 1
    ].astype(np.int64)
    data = np.frombuffer(data_buffer or b"", np.uint8)
    sizes = np.diff(offsets)
    is_short = sizes <= _MAX_SHORT_BYTES - len(prefix)
    blocks = np.zeros((len(strings), _BLOCK_BYTES), np.uint8)
    blocks[:, : len(prefix)] = np.frombuffer(prefix, np.uint8)
    # Copies the bytes of all short strings behind the prefix.
    copied = np.where(is_short, sizes, 0)
    columns = np.arange(copied.sum()) - np.repeat(
        np.cumsum(copied) - copied, copied
    )
    rows = np.repeat(np.arange(len(strings)), copied)
    blocks[rows, columns + len(prefix)] = data[
        columns + np.repeat(offsets[:-1], copied)
    ]
    # The padding: a 1 bit after the message, its length in bits at the end.
    message_sizes = copied + len(prefix)
    blocks[np.arange(len(strings)), message_sizes] = 0x80
    blocks.view("<u8")[:, -1] = 8 * message_sizes
    words = np.ascontiguousarray(blocks.view("<u4").T)
    digests = np.stack(_transform(words), axis=1).astype("<u4").view(">u8")
    for row in np.flatnonzero(~is_short).tolist():
        message = prefix + strings[row].as_py().encode()
        digest = hashlib.md5(message, usedforsecurity=False).digest()
        digests[row] = np.frombuffer(digest, ">u8")
    return digests.astype(np.uint64)


def _transform(words: _Words) -> list[_Words]:
    """Returns the MD5 state after one block of each message.

    Args:
        words: the blocks, uint32 `(16, num_messages)`.
    """
    a, b, c, d = (np.full(words.shape[1], k, np.uint32) for k in _INITIAL_STATE)
    for step, sine in enumerate(_SINES):
        number = step // 16
        if number == 0:
            mixed = (b & c) | (~b & d)
        elif number == 1:
            mixed = (d & b) | (~d & c)
        elif number == 2:
            mixed = b ^ c ^ d
        else:
            mixed = c ^ (b | ~d)
        stride, first = _STRIDES[number]
        mixed += a
        mixed += words[(stride * step + first) % 16]
        mixed += sine
        shift = np.uint32(_SHIFTS[number][step % 4])
        rotated = (mixed << shift) | (mixed >> (np.uint32(32) - shift))
        a, b, c, d = d, b + rotated, b, c
    return [
        np.uint32(k) + word
        for k, word in zip(_INITIAL_STATE, (a, b, c, d), strict=True)
    ]
