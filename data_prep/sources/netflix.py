"""Ratings of the Netflix Prize, as they were published.

A line `item:` stands before the ratings of the item, lines of
`user,rating,YYYY-MM-DD`. One file an item (`mv_*.txt`), these in a tar
archive, or many items in a file (`combined_data_*.txt`) are all read alike:
as extents of files that start with an item.
"""

import dataclasses
import functools
import itertools
import mmap
import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from data_prep.dataset.errors import UserError
from data_prep.sources.local_files import InputFile, decompress
from data_prep.sources.parts import Part
from data_prep.sources.rejects import NUM_KEPT, Rejected, Rejects
from data_prep.sources.validation import (
    MALFORMED,
    Scale,
    explain,
    validate,
)

# A part of the work: some two million ratings.
_BYTES_PER_PART = 1 << 25

_ITEM_LINE = re.compile(rb"^\d+:\r?$", re.MULTILINE)
_HEADERS = ("user", "rating", "date")
_COLUMNS = {
    "user": "user",
    "item": "item_id",
    "rating": "rating",
    "timestamp": "date",
}
_FAST_TYPES = {
    "user": pa.string(),
    "rating": pa.float64(),
    "date": pa.date32(),
}
_SECONDS_PER_DAY = 24 * 60 * 60


@dataclasses.dataclass(frozen=True)
class Extent:
    """Some bytes of a file, which start with the line of an item.

    Args:
        file: the file.
        start: where they start.
        size: their number.
        first_line: where lines are counted from.
    """

    file: InputFile
    start: int
    size: int
    first_line: int = 0

    def read(self) -> bytes:
        """Reads the bytes, and ends the last line if need be."""
        with open(self.file.path, "rb") as file:
            file.seek(self.start)
            data = file.read(self.size)
        if len(data) < self.size:
            raise UserError(
                f"{self.file.name} became shorter while it was read."
            )
        return data if data.endswith(b"\n") else data + b"\n"

    def find_lines(self, rows: Sequence[Rejected]) -> list[int]:
        """Returns the lines of rows of the file, in order."""
        return self.count_lines([row.position for row in rows])

    def count_lines(self, offsets: Sequence[int]) -> list[int]:
        """Returns the numbers of the lines that hold bytes of the file."""
        found, line, place = [], 1, self.first_line
        with open(self.file.path, "rb") as file:
            file.seek(place)
            for offset in offsets:
                while data := file.read(min(offset - place, _BYTES_PER_PART)):
                    line += data.count(b"\n")
                    place += len(data)
                found.append(line)
        return found


def read_netflix(
    files: Iterable[tuple[InputFile, bool]],
    temp_dir: str,
    rejects: Rejects,
    scale: Scale | None,
) -> Iterator[Part]:
    """Yields the ratings of the files, in order.

    Args:
        files: text or tar archives of text, as they are or compressed, and
            whether each is an archive.
        temp_dir: a local directory for what is decompressed.
        rejects: takes the rows that cannot be used.
        scale: the ratings that may be, if that is known.
    """
    group: list[Extent] = []
    extents = itertools.chain.from_iterable(
        (_list_members if is_archive else _cut)(decompress(file, temp_dir))
        for file, is_archive in files
    )
    for extent in extents:
        group.append(extent)
        if sum(e.size for e in group) >= _BYTES_PER_PART:
            yield functools.partial(_read_part, group, rejects, scale)
            group = []
    if group:
        yield functools.partial(_read_part, group, rejects, scale)


def _cut(file: InputFile) -> Iterator[Extent]:
    """Cuts a file into extents of items, not much longer than a part."""
    size = os.path.getsize(file.path)
    if size <= _BYTES_PER_PART:
        yield Extent(file, 0, size)
        return
    with (
        open(file.path, "rb") as content,
        mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ) as view,
    ):
        start = 0
        while start < size:
            item = _ITEM_LINE.search(view, start + _BYTES_PER_PART)
            end = item.start() if item else size
            yield Extent(file, start, end - start)
            start = end


def _list_members(file: InputFile) -> Iterator[Extent]:
    with tarfile.open(file.path) as archive:
        members = [
            member
            for member in archive
            if re.search(r"(^|/)mv_\w+\.txt$", member.name)
        ]
    if not members:
        raise UserError(f"{file.name} holds no mv_*.txt files.")
    for member in sorted(members, key=lambda member: member.name):
        named = dataclasses.replace(file, name=f"{file.name}:{member.name}")
        start = member.offset_data
        yield Extent(named, start, member.size, first_line=start)


def _read_part(
    extents: Sequence[Extent], rejects: Rejects, scale: Scale | None
) -> pa.Table:
    """Returns the ratings of some extents."""
    blocks = [extent.read() for extent in extents]
    sizes = [len(block) for block in blocks]
    text = _Text(b"".join(blocks), extents, np.append(0, np.cumsum(sizes)))
    del blocks
    table = text.parse_fast(scale)
    if table is None:
        table = text.parse_with_care(rejects, scale)
    return table


class _Text:
    """The lines of some extents.

    Args:
        data: the bytes of all.
        extents: where they are from.
        edges: where each starts in `data`, and the end.
    """

    def __init__(
        self,
        data: bytes,
        extents: Sequence[Extent],
        edges: npt.NDArray[np.int64],
    ) -> None:
        self._data = data
        self._extents = extents
        self._edges = edges
        # Lines that are not ratings: their number, empty ones not counted,
        # and their text.
        self._skipped: list[tuple[int, str]] = []

    def parse_fast(self, scale: Scale | None) -> pa.Table | None:
        """Returns the ratings if all of them can be used, or else `None`."""
        try:
            table = self._parse(_FAST_TYPES)
        except pa.ArrowInvalid:
            return None
        ratings = table["rating"].to_numpy()
        lowest, highest = (
            (scale.lowest, scale.highest) if scale else (-3.4e38, 3.4e38)
        )
        is_good = (
            all(_is_item(line) for _, line in self._skipped)
            and ((ratings >= lowest) & (ratings <= highest)).all()
            and not pc.any(pc.equal(table["user"], "")).as_py()
        )
        if not is_good:
            return None
        days = table["date"].cast(pa.int32()).to_numpy().astype(np.float64)
        return pa.table(
            {
                "user_id": table["user"],
                "item_id": self._name_items(table.num_rows),
                "rating": ratings,
                "timestamp": days * _SECONDS_PER_DAY,
            }
        )

    def parse_with_care(
        self, rejects: Rejects, scale: Scale | None
    ) -> pa.Table:
        """Returns the ratings that can be used, and rejects the others."""
        self._check_utf8()
        table = self._parse(dict.fromkeys(_HEADERS, pa.string()))
        table = table.append_column(
            "item_id", self._name_items(table.num_rows).cast(pa.string())
        ).append_column("number", pa.array(np.arange(table.num_rows)))
        rows = validate(table, _COLUMNS, scale, place="number")
        self._reject_lines(rejects)
        return rejects.sift(
            rows, functools.partial(self._describe_row, rejects, scale)
        )

    def _parse(self, types: dict[str, pa.DataType]) -> pa.Table:
        self._skipped = []

        def skip(row: pa.csv.InvalidRow) -> str:
            self._skipped.append((row.number - 1, row.text))
            return "skip"

        return pa.csv.read_csv(
            pa.py_buffer(self._data),
            read_options=pa.csv.ReadOptions(
                use_threads=False,
                block_size=len(self._data) + 1,
                column_names=list(_HEADERS),
            ),
            parse_options=pa.csv.ParseOptions(
                quote_char=False, invalid_row_handler=skip
            ),
            convert_options=pa.csv.ConvertOptions(
                column_types=types, null_values=[""], strings_can_be_null=False
            ),
        )

    def _name_items(self, num_rows: int) -> pa.DictionaryArray:
        """Returns the item of each rating: that of the last `item:` line."""
        is_item = [_is_item(line) for _, line in self._skipped]
        lines = np.array([number for number, _ in self._skipped], np.int64)
        # Ratings before each skipped line.
        before = lines - np.arange(len(lines))
        edges = np.append(before[is_item], num_rows)
        names = [line[:-1] for _, line in self._skipped if _is_item(line)]
        codes = np.repeat(np.arange(len(names), dtype=np.int32), np.diff(edges))
        return pa.DictionaryArray.from_arrays(
            pa.array(codes), pa.array(names, pa.string())
        )

    def _check_utf8(self) -> None:
        try:
            self._data.decode()
        except UnicodeDecodeError as error:
            extent, offset = self._locate(error.start)
            (line,) = extent.count_lines([offset])
            raise UserError(
                f"{extent.file.name}:{line}: must be UTF-8 text"
            ) from None

    def _describe_row(
        self, rejects: Rejects, scale: Scale | None, row: dict[str, Any]
    ) -> Rejected:
        user, _, rating, date = (text or "" for text in row["texts"])
        number = _skip(row["place"], [place for place, _ in self._skipped])
        return self._describe(
            rejects,
            number,
            row["reason"],
            ",".join((user, rating, date)),
            explain(row, _COLUMNS, scale),
        )

    def _reject_lines(self, rejects: Rejects) -> None:
        lines = [line for line in self._skipped if not _is_item(line[1])]
        if lines:
            rejects.count(MALFORMED, len(lines))
        rejects.keep(
            self._describe(
                rejects,
                number,
                MALFORMED,
                line,
                "expected 'user,rating,date', or 'item:' before the ratings"
                f" of an item. Received: {line!r}",
            )
            for number, line in lines[:NUM_KEPT]
        )

    def _describe(
        self,
        rejects: Rejects,
        number: int,
        reason: str,
        text: str,
        complaint: str,
    ) -> Rejected:
        extent, offset = self._locate(int(self._line_starts[number]))
        file = extent.file
        rejects.find_lines_with(file.name, extent.find_lines)
        return Rejected(file.number, offset, reason, file.name, text, complaint)

    def _locate(self, position: int) -> tuple[Extent, int]:
        """Returns the extent of a byte, and where in its file it is."""
        k = int(np.searchsorted(self._edges, position, side="right")) - 1
        extent = self._extents[k]
        return extent, extent.start + position - int(self._edges[k])

    @functools.cached_property
    def _line_starts(self) -> npt.NDArray[np.int64]:
        """Where each line starts that is not empty."""
        data = np.frombuffer(self._data, np.uint8)
        ends = np.flatnonzero(data == ord("\n"))
        starts = np.append(0, ends[:-1] + 1)
        has_return = (data[ends - 1] == ord("\r")) & (ends > starts)
        return starts[ends - has_return > starts]


def _is_item(line: str) -> bool:
    return line.endswith(":") and line[:-1].isdecimal()


def _skip(place: int, skipped: Sequence[int]) -> int:
    """Returns the line of a rating, of those that are not empty."""
    for number in skipped:
        if number > place:
            break
        place += 1
    return place
