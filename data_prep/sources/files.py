"""Files as a source of ratings."""

import collections
import contextlib
import dataclasses
import functools
import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from data_prep.dataset.files import digest_files
from data_prep.readers.archives import split_member
from data_prep.readers.delimited import read_delimited
from data_prep.readers.fetching import InputFile, display_name, fetch_files
from data_prep.readers.formats import Layout, recognize
from data_prep.readers.netflix_text import read_netflix
from data_prep.readers.parquet import read_parquet
from data_prep.readers.reading import Part, Reading
from data_prep.rules.columns import Columns
from data_prep.sources.source import Source

# Above it the manifest holds one digest for all files.
_MAX_FILES_IN_MANIFEST = 100
_BYTES_PER_PIECE = 1 << 26

_SAMPLE_BYTES = 1 << 20
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5", b"PK", b"BZ", b"\xfd7")
_COMPRESSED_ROWS_PER_BYTE = 1 / 4
# The ratings in a zip archive of a data set, such as those of GroupLens.
_MEMBERS = (r"(^|/)(ratings\.\w+|u\.data)$", "ratings")
# Where nothing can be sampled.
_TYPICAL_ROWS_PER_BYTE = 1 / 16


@dataclasses.dataclass(frozen=True)
class Files(Source):
    """Files of ratings in any format that `data_prep.readers.formats` knows.

    Args:
        paths: the files, local or remote, in order.
        columns: the headers or positions of the columns.
        test_paths: files whose ratings are published as a test set.
        delimiter: the separator of text, where it is not recognized.
        encoding: the encoding of text that is not UTF-8.
    """

    paths: tuple[str, ...]
    columns: Columns
    test_paths: tuple[str, ...] = ()
    delimiter: str | None = None
    encoding: str | None = None

    def describe(self) -> dict[str, Any]:
        description: dict[str, Any] = {
            "name": "files",
            "columns": dataclasses.asdict(self.columns),
        }
        for name in ("delimiter", "encoding"):
            if getattr(self, name) is not None:
                description[name] = getattr(self, name)
        if self.paths:
            description["files"] = _describe_files(self.paths)
        if self.test_paths:
            description["test_files"] = _describe_files(self.test_paths)
        return description

    def estimate_rows(self) -> int:
        return _estimate_rows((*self.paths, *self.test_paths))

    def has_test_ratings(self) -> bool:
        return bool(self.test_paths)

    def read(self, reading: Reading) -> Iterator[Part]:
        files, layouts = self._recognize(reading.temp_dir)
        is_test = [file.number >= len(self.paths) for file in files]
        # Neighbors of one layout are read together.
        runs = itertools.groupby(
            files,
            key=lambda file: (
                _shared_layout(layouts[file.number]),
                is_test[file.number],
            ),
        )
        for (layout, from_test_files), run in runs:
            for part in _read_alike(list(run), layout, layouts, reading):
                if from_test_files:
                    yield functools.partial(_mark_as_test, part)
                else:
                    yield part

    def divide(self) -> list[Source]:
        pieces: list[Source] = [
            dataclasses.replace(self, paths=paths, test_paths=())
            for paths in _divide(self.paths)
        ]
        return pieces + [
            dataclasses.replace(self, paths=(), test_paths=paths)
            for paths in _divide(self.test_paths)
        ]

    def explain(self, reading: Reading) -> Iterator[str]:
        files, layouts = self._recognize(reading.temp_dir)
        counts = collections.Counter(layouts)
        first_names = {
            layout: file.name
            for layout, file in reversed(list(zip(layouts, files, strict=True)))
        }
        for layout, count in counts.items():
            more = f" and {count - 1:,} more" if count > 1 else ""
            yield f"{first_names[layout]}{more}: {layout}"

    def _recognize(self, temp_dir: str) -> tuple[list[InputFile], list[Layout]]:
        """Fetches all files; returns them and the layout of each."""
        files = fetch_files(
            (*self.paths, *self.test_paths),
            temp_dir,
            encoding=self.encoding,
            members=_MEMBERS,
        )
        return files, [
            recognize(file, self.columns, self.delimiter) for file in files
        ]


def _divide(paths: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yields neighboring files of about `_BYTES_PER_PIECE` in total."""
    piece: list[str] = []
    size = 0
    for path in paths:
        piece.append(path)
        size += tf.io.gfile.stat(split_member(path)[0]).length
        if size >= _BYTES_PER_PIECE:
            yield tuple(piece)
            piece, size = [], 0
    if piece:
        yield tuple(piece)


def _shared_layout(layout: Layout) -> Layout:
    """Returns the layout under which a file is read together with others."""
    return Layout("netflix") if layout.kind == "tar" else layout


def _read_alike(
    files: list[InputFile],
    layout: Layout,
    layouts: Sequence[Layout],
    reading: Reading,
) -> Iterator[Part]:
    """Reads files of one layout."""
    if layout.kind == "netflix":
        return read_netflix(
            [(file, layouts[file.number].kind == "tar") for file in files],
            reading,
        )
    if layout.kind == "parquet":
        return read_parquet(files, layout, reading)
    return read_delimited(files, layout, reading)


def _mark_as_test(part: Part) -> pa.Table:
    table = part()
    return table.append_column(
        "is_test", pa.repeat(pa.scalar(True), len(table))
    )


def _describe_files(paths: Sequence[str]) -> Any:
    """Returns the name and digest of each file; if many, one digest of all."""
    described = [
        {"name": os.path.basename(display_name(path)), "sha256": digest}
        for path, digest in zip(
            paths,
            digest_files([split_member(path)[0] for path in paths]),
            strict=True,
        )
    ]
    if len(described) <= _MAX_FILES_IN_MANIFEST:
        return described
    lines = "".join(f"{d['sha256']}  {d['name']}\n" for d in described)
    return {
        "count": len(described),
        "sha256sum_of_sha256sums": hashlib.sha256(lines.encode()).hexdigest(),
    }


def _estimate_rows(paths: Sequence[str]) -> int:
    """Estimates the number of ratings from the file sizes and a sample."""
    total = 0.0
    rows_per_byte = 0.0
    for path, _ in map(split_member, paths):
        if "://" in path:
            size = tf.io.gfile.stat(path).length
        else:
            size = os.path.getsize(path)
            if not rows_per_byte or path.endswith(".parquet"):
                rows_per_byte = _sample_density(path, size)
        total += size * (rows_per_byte or _TYPICAL_ROWS_PER_BYTE)
    return int(total)


def _sample_density(path: str, size: int) -> float:
    """Estimates the number of ratings per byte of a local file."""
    with open(path, "rb") as file:
        start = file.read(_SAMPLE_BYTES)
    if start.startswith(b"PAR1"):
        with contextlib.suppress(pa.ArrowInvalid):
            return float(pq.read_metadata(path).num_rows) / size
    if start[:2] in _COMPRESSED:
        return _COMPRESSED_ROWS_PER_BYTE
    return start.count(b"\n") / max(len(start), 1)
