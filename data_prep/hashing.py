"""Columns of texts as bytes, and their MD5 digests many at a time.

MD5 spreads ids evenly and is the same everywhere. Here it is no secret, and
a source of a hundred million ratings asks for it some ten million times: what
RFC 1321 does with one message, these functions do with a column of them.

Reference:
    Rivest, 1992, "The MD5 Message-Digest Algorithm"
    (https://www.rfc-editor.org/rfc/rfc1321).
"""

import hashlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_Words = npt.NDArray[np.uint32]

_TEXTS_AT_A_TIME = 1 << 14
_BLOCK_BYTES = 64
# A text that fits one block with what MD5 puts behind it.
_LONGEST = 55

# As section 3.4 of the RFC has them: the sines, and for each of four rounds
# its shifts and which word of the block comes next.
_SINES = np.floor(2**32 * np.abs(np.sin(np.arange(1, 65)))).astype(np.uint32)
_SHIFTS = [(7, 12, 17, 22), (5, 9, 14, 20), (4, 11, 16, 23), (6, 10, 15, 21)]
_STRIDES = [(1, 0), (5, 1), (3, 5), (7, 0)]
_START = [0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476]


def view_texts(
    texts: pa.StringArray,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Returns where each text starts, and the end; and the bytes of all."""
    _, offsets, data = texts.buffers()
    if offsets is None or not len(texts):
        return np.zeros(1, np.int64), np.empty(0, np.uint8)
    ends = np.frombuffer(offsets, np.int32)[texts.offset :][: len(texts) + 1]
    return ends.astype(np.int64), np.frombuffer(data or b"", np.uint8)


def digest_texts(
    texts: pa.StringArray, prefix: str = ""
) -> npt.NDArray[np.uint64]:
    """Returns the MD5 digest of each text.

    Args:
        texts: what follows the prefix.
        prefix: what each message starts with, a few letters.

    Returns:
        The first and the last eight bytes of each digest as numbers, their
        first byte the highest, uint64 `(num_texts, 2)`.
    """
    digests = np.empty((len(texts), 2), np.uint64)
    for start in range(0, len(texts), _TEXTS_AT_A_TIME):
        some = texts.slice(start, _TEXTS_AT_A_TIME)
        digests[start : start + len(some)] = _digest(some, prefix.encode())
    return digests


def _digest(texts: pa.StringArray, prefix: bytes) -> npt.NDArray[np.uint64]:
    starts, data = view_texts(texts)
    sizes = np.diff(starts)
    is_short = sizes <= _LONGEST - len(prefix)
    blocks = np.zeros((len(texts), _BLOCK_BYTES), np.uint8)
    blocks[:, : len(prefix)] = np.frombuffer(prefix, np.uint8)
    # Where the bytes of a text come from and go to.
    copied = np.where(is_short, sizes, 0)
    places = np.arange(copied.sum()) - np.repeat(
        np.cumsum(copied) - copied, copied
    )
    rows = np.repeat(np.arange(len(texts)), copied)
    blocks[rows, places + len(prefix)] = data[
        places + np.repeat(starts[:-1], copied)
    ]
    ends = copied + len(prefix)
    blocks[np.arange(len(texts)), ends] = 0x80
    blocks.view("<u8")[:, -1] = 8 * ends
    words = np.ascontiguousarray(blocks.view("<u4").T)
    digests = np.stack(_transform(words), axis=1).astype("<u4").view(">u8")
    for row in np.flatnonzero(~is_short).tolist():
        message = prefix + texts[row].as_py().encode()
        digest = hashlib.md5(message, usedforsecurity=False).digest()
        digests[row] = np.frombuffer(digest, ">u8")
    return digests.astype(np.uint64)


def _transform(words: _Words) -> list[_Words]:
    """Returns the state after one block of each message.

    Args:
        words: the blocks, uint32 `(16, num_messages)`.
    """
    a, b, c, d = (np.full(words.shape[1], k, np.uint32) for k in _START)
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
        turned = (mixed << shift) | (mixed >> (np.uint32(32) - shift))
        a, b, c, d = d, b + turned, b, c
    return [
        np.uint32(k) + word
        for k, word in zip(_START, (a, b, c, d), strict=True)
    ]
