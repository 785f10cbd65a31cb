"""Many users at once -> TFRecords of serialized `tf.train.Example`s.

Writes the bytes that `Example.SerializeToString(deterministic=True)` and
`TFRecordWriter` would, a column at a time instead of a number at a time:
first the size of everything, then every byte to its place.

References:
    https://protobuf.dev/programming-guides/encoding and
    https://www.tensorflow.org/tutorials/load_data/tfrecord
"""

from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_prep.dataset.schema import SUBSETS, USER_ID
from data_prep.hashing import view_texts

_Bytes = npt.NDArray[np.uint8]
_Sizes = npt.NDArray[np.int64]

# Field numbers and wire types, as protocol buffers write them.
_FIELD_1 = b"\x0a"
_FIELD_2 = b"\x12"
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = b"\x0a", b"\x12", b"\x1a"

# A record is its length, a checksum of that, its data, a checksum of those.
_BEFORE_DATA, _AFTER_DATA = 12, 4


def encode_records(
    user_ids: pa.StringArray,
    counts: _Sizes,
    indices: npt.NDArray[np.int64],
    ratings: npt.NDArray[np.float32],
) -> _Bytes:
    """Encodes users as TFRecords, one Example a user.

    Args:
        user_ids: the raw ids `(num_users,)`.
        counts: the number of ratings in each group of `SUBSETS`, int64
            `(num_users, 3)`.
        indices: item indices of the ratings, user by user and in a user
            group by group, ascending in a group.
        ratings: the ratings, in the same order.

    Returns:
        The content of a TFRecord file.
    """
    lists = sorted(
        [(USER_ID, _TextList(user_ids))]
        + [
            pair
            for k, (index_key, rating_key) in enumerate(SUBSETS.values())
            for pair in (
                (index_key, _IntegerList(counts, k, indices)),
                (rating_key, _FloatList(counts, k, ratings)),
            )
        ]
    )
    entry_sizes = [_entry_size(key, values.sizes) for key, values in lists]
    features_sizes = np.sum([_with_header(s) for s in entry_sizes], axis=0)
    example_sizes = _with_header(features_sizes)
    record_sizes = example_sizes + (_BEFORE_DATA + _AFTER_DATA)
    ends = np.cumsum(record_sizes)
    writer = _Writer(
        np.zeros(ends[-1] if len(ends) else 0, np.uint8),
        ends - record_sizes + _BEFORE_DATA,
    )
    writer.put(_FIELD_1)
    writer.put_varint(features_sizes)
    for (key, values), entry_size in zip(lists, entry_sizes, strict=True):
        name = key.encode()
        writer.put(_FIELD_1)
        writer.put_varint(entry_size)
        writer.put(_FIELD_1 + bytes([len(name)]) + name + _FIELD_2)
        list_sizes = _list_size(values.sizes)
        writer.put_varint(_with_header(list_sizes))
        writer.put(values.kind)
        writer.put_varint(list_sizes)
        full = values.sizes > 0
        writer.put(_FIELD_1, full)
        writer.put_varint(values.sizes, full)
        values.write(writer.out, writer.skip(values.sizes))
    _frame(writer.out, ends - record_sizes, example_sizes)
    return writer.out


class _TextList:
    """A list of one text a user."""

    kind = _BYTES_LIST

    def __init__(self, texts: pa.StringArray) -> None:
        self._offsets, self._data = view_texts(texts)
        self.sizes = np.diff(self._offsets)

    def write(self, out: _Bytes, starts: _Sizes) -> None:
        first, last = self._offsets[[0, -1]]
        places = np.repeat(starts - self._offsets[:-1], self.sizes)
        places += np.arange(first, last)
        out[places] = self._data[first:last]


class _IntegerList:
    """The integers of one group, packed as varints."""

    kind = _INT64_LIST

    def __init__(
        self, counts: _Sizes, group: int, values: npt.NDArray[np.int64]
    ) -> None:
        self._counts = counts[:, group]
        self._values = values[_select(counts, group)]
        self._lengths = _varint_sizes(self._values)
        self._ends = np.append(0, np.cumsum(self._lengths))
        edges = np.append(0, np.cumsum(self._counts))
        self._starts = self._ends[edges[:-1]]
        self.sizes = self._ends[edges[1:]] - self._starts

    def write(self, out: _Bytes, starts: _Sizes) -> None:
        places = np.repeat(starts - self._starts, self._counts)
        places += self._ends[:-1]
        _write_varints(out, places, self._values, self._lengths)


class _FloatList:
    """The numbers of one group, packed in four bytes each."""

    kind = _FLOAT_LIST

    def __init__(
        self, counts: _Sizes, group: int, values: npt.NDArray[np.float32]
    ) -> None:
        self._counts = counts[:, group]
        self._values = values[_select(counts, group)]
        self.sizes = 4 * self._counts

    def write(self, out: _Bytes, starts: _Sizes) -> None:
        before = 4 * (np.cumsum(self._counts) - self._counts)
        places = np.repeat(starts - before, self._counts)
        places += 4 * np.arange(len(places))
        data = self._values.astype("<f4").view(np.uint8).reshape(-1, 4)
        for k in range(4):
            out[places + k] = data[:, k]


class _Writer:
    """Writes alike parts of all users, each to his own place."""

    def __init__(self, out: _Bytes, places: _Sizes) -> None:
        self.out = out
        self._places = places

    def put(self, data: bytes, where: Any = slice(None)) -> None:
        for k, byte in enumerate(data):
            self.out[self._places[where] + k] = byte
        self._places[where] += len(data)

    def put_varint(self, values: _Sizes, where: Any = slice(None)) -> None:
        values = values[where]
        lengths = _varint_sizes(values)
        _write_varints(self.out, self._places[where], values, lengths)
        self._places[where] += lengths

    def skip(self, sizes: _Sizes) -> _Sizes:
        """Returns where the next part starts, and goes to its end."""
        starts = self._places
        self._places = starts + sizes
        return starts


def _select(counts: _Sizes, group: int) -> npt.NDArray[np.bool_]:
    """Says which of all ratings belong to the group."""
    groups = np.tile(np.arange(len(SUBSETS)) == group, len(counts))
    return np.repeat(groups, counts.ravel())


def _varint_sizes(values: npt.NDArray[np.int64]) -> _Sizes:
    sizes = np.ones(len(values), np.int64)
    highest = int(values.max(initial=0))
    for bits in range(7, highest.bit_length(), 7):
        sizes += values >> bits > 0
    return sizes


def _write_varints(
    out: _Bytes, places: _Sizes, values: npt.NDArray[np.int64], lengths: _Sizes
) -> None:
    """Writes seven bits a byte, the lowest first; all but the last say 128."""
    for k in range(int(lengths.max(initial=0))):
        more = lengths > k + 1
        out[places] = (values & 0x7F) | (more * 0x80)
        places, values, lengths = places[more] + 1, values[more], lengths[more]
        values = values >> 7


def _with_header(sizes: _Sizes) -> _Sizes:
    """Returns the size of a message and what stands before it."""
    return 1 + _varint_sizes(sizes) + sizes


def _list_size(sizes: _Sizes) -> _Sizes:
    return np.where(sizes > 0, _with_header(sizes), 0)


def _entry_size(key: str, sizes: _Sizes) -> _Sizes:
    feature_sizes = _with_header(_list_size(sizes))
    return 2 + len(key) + _with_header(feature_sizes)


def _frame(out: _Bytes, starts: _Sizes, sizes: _Sizes) -> None:
    """Writes lengths and checksums around the data of the records."""
    view = memoryview(out.data)
    checksum = google_crc32c.value
    for start, size in zip(starts.tolist(), sizes.tolist(), strict=True):
        length = size.to_bytes(8, "little")
        data = start + _BEFORE_DATA
        end = data + size
        view[start:data] = length + _mask(checksum(length))
        view[end : end + _AFTER_DATA] = _mask(checksum(bytes(view[data:end])))


def _mask(checksum: int) -> bytes:
    """Returns the checksum as TFRecord files hold it."""
    rotated = (checksum >> 15 | checksum << 17) & 0xFFFFFFFF
    return (rotated + 0xA282EAD8 & 0xFFFFFFFF).to_bytes(4, "little")
