"""Serializes many users at once as TFRecords of `tf.train.Example`s.

The bytes are those of `Example.SerializeToString(deterministic=True)` and
`TFRecordWriter`, but written by column instead of by number: first the size
of every part is computed, then every byte is written to its position.

References:
    https://protobuf.dev/programming-guides/encoding and
    https://www.tensorflow.org/tutorials/load_data/tfrecord
"""

from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_prep.dataset.schema import COLD_RATINGS, SUBSETS, USER_ID

_Bytes = npt.NDArray[np.uint8]
_Sizes = npt.NDArray[np.int64]

# Field numbers and wire types of protocol buffers.
_FIELD_1 = b"\x0a"
_FIELD_2 = b"\x12"
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = b"\x0a", b"\x12", b"\x1a"

# A record is the length, a checksum of it, the data, and a checksum of them.
_HEADER_BYTES, _FOOTER_BYTES = 12, 4


def serialize_records(
    user_ids: pa.StringArray,
    counts: _Sizes,
    indices: npt.NDArray[np.int64],
    ratings: npt.NDArray[np.float32],
    cold_counts: _Sizes,
    cold_ratings: npt.NDArray[np.float32],
) -> _Bytes:
    """Serializes users as TFRecords, one Example per user.

    Args:
        user_ids: the raw ids `(num_users,)`.
        counts: the number of ratings in each subset of `SUBSETS`, int64
            `(num_users, 3)`.
        indices: the item indices of the ratings, int64 `(num_ratings,)`,
            sorted by user, subset and index.
        ratings: the ratings in the same order, float32 `(num_ratings,)`.
        cold_counts: the number of ratings of cold items in each subset of
            `COLD_RATINGS`, int64 `(num_users, 2)`.
        cold_ratings: these ratings, float32 `(num_cold_ratings,)`, sorted by
            user and subset.

    Returns:
        The content of a TFRecord file, uint8 `(num_bytes,)`.
    """
    lists = sorted(
        [(USER_ID, _StringList(user_ids))]
        + [
            pair
            for k, (index_key, rating_key) in enumerate(SUBSETS.values())
            for pair in (
                (index_key, _IntegerList(counts, k, indices)),
                (rating_key, _FloatList(counts, k, ratings)),
            )
        ]
        + [
            (key, _OptionalFloatList(cold_counts, k, cold_ratings))
            for k, key in enumerate(COLD_RATINGS.values())
            if cold_counts[:, k].any()
        ]
    )
    entry_sizes = [_entry_size(key, values) for key, values in lists]
    features_sizes = np.sum([_size_if_any(s) for s in entry_sizes], axis=0)
    example_sizes = _with_header(features_sizes)
    record_sizes = example_sizes + (_HEADER_BYTES + _FOOTER_BYTES)
    ends = np.cumsum(record_sizes)
    writer = _Writer(
        np.zeros(ends[-1] if len(ends) else 0, np.uint8),
        ends - record_sizes + _HEADER_BYTES,
    )
    writer.put(_FIELD_1)
    writer.put_varint(features_sizes)
    for (key, values), entry_size in zip(lists, entry_sizes, strict=True):
        name = key.encode()
        where = values.is_written
        writer.put(_FIELD_1, where)
        writer.put_varint(entry_size, where)
        writer.put(_FIELD_1 + bytes([len(name)]) + name + _FIELD_2, where)
        list_sizes = _size_if_any(values.sizes)
        writer.put_varint(_with_header(list_sizes), where)
        writer.put(values.kind, where)
        writer.put_varint(list_sizes, where)
        is_filled = values.sizes > 0
        writer.put(_FIELD_1, is_filled)
        writer.put_varint(values.sizes, is_filled)
        values.write(writer.out, writer.skip(values.sizes))
    _write_frames(writer.out, ends - record_sizes, example_sizes)
    return writer.out


class _StringList:
    """A list of one string per user."""

    kind = _BYTES_LIST
    is_written: Any = slice(None)

    def __init__(self, strings: pa.StringArray) -> None:
        # Copies a slice, so that its offsets start at 0.
        _, offsets, data = pa.concat_arrays([strings]).buffers()
        self._data = np.frombuffer(data or b"", np.uint8)
        self._offsets = np.zeros(len(strings) + 1, np.int64)
        if len(strings):
            self._offsets[:] = np.frombuffer(offsets, np.int32)[
                : len(strings) + 1
            ]
        self.sizes = np.diff(self._offsets)

    def write(self, out: _Bytes, starts: _Sizes) -> None:
        num_bytes = self._offsets[-1]
        positions = np.repeat(starts - self._offsets[:-1], self.sizes)
        positions += np.arange(num_bytes)
        out[positions] = self._data[:num_bytes]


class _IntegerList:
    """The integers of one subset, packed as varints."""

    kind = _INT64_LIST
    is_written: Any = slice(None)

    def __init__(
        self, counts: _Sizes, subset: int, values: npt.NDArray[np.int64]
    ) -> None:
        self._counts = counts[:, subset]
        self._values = values[_select(counts, subset)]
        self._lengths = _varint_sizes(self._values)
        self._ends = np.append(0, np.cumsum(self._lengths))
        edges = np.append(0, np.cumsum(self._counts))
        self._starts = self._ends[edges[:-1]]
        self.sizes = self._ends[edges[1:]] - self._starts

    def write(self, out: _Bytes, starts: _Sizes) -> None:
        positions = np.repeat(starts - self._starts, self._counts)
        positions += self._ends[:-1]
        _write_varints(out, positions, self._values, self._lengths)


class _FloatList:
    """The floats of one subset, packed in four bytes each."""

    kind = _FLOAT_LIST
    is_written: Any = slice(None)

    def __init__(
        self, counts: _Sizes, subset: int, values: npt.NDArray[np.float32]
    ) -> None:
        self._counts = counts[:, subset]
        self._values = values[_select(counts, subset)]
        self.sizes = 4 * self._counts

    def write(self, out: _Bytes, starts: _Sizes) -> None:
        before = 4 * (np.cumsum(self._counts) - self._counts)
        positions = np.repeat(starts - before, self._counts)
        positions += 4 * np.arange(len(positions))
        data = self._values.astype("<f4").view(np.uint8).reshape(-1, 4)
        for k in range(4):
            out[positions + k] = data[:, k]


class _OptionalFloatList(_FloatList):
    """A feature that users without values of it lack."""

    def __init__(
        self, counts: _Sizes, subset: int, values: npt.NDArray[np.float32]
    ) -> None:
        super().__init__(counts, subset, values)
        self.is_written = self.sizes > 0


class _Writer:
    """Writes the same part of all users at once, each to its own position."""

    def __init__(self, out: _Bytes, positions: _Sizes) -> None:
        self.out = out
        self._positions = positions

    def put(self, data: bytes, where: Any = slice(None)) -> None:
        for k, byte in enumerate(data):
            self.out[self._positions[where] + k] = byte
        self._positions[where] += len(data)

    def put_varint(self, values: _Sizes, where: Any = slice(None)) -> None:
        values = values[where]
        lengths = _varint_sizes(values)
        _write_varints(self.out, self._positions[where], values, lengths)
        self._positions[where] += lengths

    def skip(self, sizes: _Sizes) -> _Sizes:
        """Returns the positions of the next part, and moves to its end."""
        starts = self._positions
        self._positions = starts + sizes
        return starts


def _select(counts: _Sizes, subset: int) -> npt.NDArray[np.bool_]:
    """Returns whether each rating belongs to the subset."""
    is_selected = np.tile(np.arange(counts.shape[1]) == subset, len(counts))
    return np.repeat(is_selected, counts.ravel())


def _varint_sizes(values: npt.NDArray[np.int64]) -> _Sizes:
    sizes = np.ones(len(values), np.int64)
    highest = int(values.max(initial=0))
    for bits in range(7, highest.bit_length(), 7):
        sizes += values >> bits > 0
    return sizes


def _write_varints(
    out: _Bytes,
    positions: _Sizes,
    values: npt.NDArray[np.int64],
    lengths: _Sizes,
) -> None:
    """Writes seven bits per byte, lowest first; the top bit says "more"."""
    for k in range(int(lengths.max(initial=0))):
        more = lengths > k + 1
        out[positions] = (values & 0x7F) | (more * 0x80)
        positions = positions[more] + 1
        values, lengths = values[more] >> 7, lengths[more]


def _with_header(sizes: _Sizes) -> _Sizes:
    """Returns the size of a message with its tag and length."""
    return 1 + _varint_sizes(sizes) + sizes


def _size_if_any(sizes: _Sizes) -> _Sizes:
    """Returns the size of a message with its header, 0 if it has no content."""
    return np.where(sizes > 0, _with_header(sizes), 0)


def _entry_size(
    key: str, values: _StringList | _IntegerList | _FloatList
) -> _Sizes:
    """Returns the size of a feature, 0 for users who lack it."""
    feature_sizes = _with_header(_size_if_any(values.sizes))
    sizes = np.zeros(len(values.sizes), np.int64)
    sizes[values.is_written] = (
        2 + len(key) + _with_header(feature_sizes)[values.is_written]
    )
    return sizes


def _write_frames(out: _Bytes, starts: _Sizes, sizes: _Sizes) -> None:
    """Writes the lengths and checksums around the data of the records."""
    view = memoryview(out.data)
    checksum = google_crc32c.value
    for start, size in zip(starts.tolist(), sizes.tolist(), strict=True):
        length = size.to_bytes(8, "little")
        data = start + _HEADER_BYTES
        end = data + size
        view[start:data] = length + _mask(checksum(length))
        view[end : end + _FOOTER_BYTES] = _mask(checksum(bytes(view[data:end])))


def _mask(checksum: int) -> bytes:
    """Returns the masked checksum of the TFRecord format."""
    rotated = (checksum >> 15 | checksum << 17) & 0xFFFFFFFF
    return (rotated + 0xA282EAD8 & 0xFFFFFFFF).to_bytes(4, "little")
