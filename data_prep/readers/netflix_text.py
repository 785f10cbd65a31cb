"""Reads ratings in the format of the Netflix Prize.

A line `item:` precedes the ratings of the item, which are lines of
`user,rating,YYYY-MM-DD`. One file per item (`mv_*.txt`), a tar archive of
these, and many items per file (`combined_data_*.txt`) are all read as extents
of files that start with an item.
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
from data_prep.readers.fetching import InputFile, decompress
from data_prep.readers.reading import Part, Reading
from data_prep.rules.excerpts import excerpt
from data_prep.rules.rejects import NUM_KEPT, RejectedRow, Rejects
from data_prep.rules.row_rules import (
    MALFORMED,
    Scale,
    explain,
    validate,
)

# About two million ratings.
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
    """Consecutive bytes of a file that start with the line of an item.

    Args:
        file: the file.
        start: their offset in the file.
        size: their number.
        lines_start: the offset from which lines are counted.
    """

    file: InputFile
    start: int
    size: int
    lines_start: int = 0

    def read(self) -> bytes:
        """Reads the bytes; ends the last line if needed."""
        with open(self.file.path, "rb") as file:
            file.seek(self.start)
            data = file.read(self.size)
        if len(data) < self.size:
            raise UserError(
                f"{self.file.name} became shorter while it was read."
            )
        return data if data.endswith(b"\n") else data + b"\n"

    def find_lines(self, rows: Sequence[RejectedRow]) -> list[int]:
        """Returns the line of each row of the file."""
        return self.count_lines([row.position for row in rows])

    def count_lines(self, offsets: Sequence[int]) -> list[int]:
        """Returns the line number at each of some ascending offsets."""
        lines, line, position = [], 1, self.lines_start
        with open(self.file.path, "rb") as file:
            file.seek(position)
            for offset in offsets:
                while data := file.read(
                    min(offset - position, _BYTES_PER_PART)
                ):
                    line += data.count(b"\n")
                    position += len(data)
                lines.append(line)
        return lines


def read_netflix(
    files: Iterable[tuple[InputFile, bool]], reading: Reading
) -> Iterator[Part]:
    """Yields the valid ratings of files, in order.

    Args:
        files: text files or tar archives, compressed or not, each with
            whether it is an archive.
        reading: the context of reading.
    """
    extents = itertools.chain.from_iterable(
        (_list_members if is_archive else _divide)(
            decompress(file, reading.temp_dir)
        )
        for file, is_archive in files
    )
    pending: list[Extent] = []
    for extent in extents:
        pending.append(extent)
        if sum(e.size for e in pending) >= _BYTES_PER_PART:
            yield functools.partial(_read_part, pending, reading)
            pending = []
    if pending:
        yield functools.partial(_read_part, pending, reading)


def _divide(file: InputFile) -> Iterator[Extent]:
    """Divides a file into extents of about the size of a part."""
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
    """Returns the extents of the ratings in a tar archive."""
    with tarfile.open(file.path) as archive:
        members = [
            member
            for member in archive
            if re.search(r"(^|/)mv_\w+\.txt$", member.name)
        ]
    if not members:
        raise UserError(
            f"{file.name} is a tar archive that holds no mv_*.txt files."
            " Extract it, and name its files."
        )
    for member in sorted(members, key=lambda member: member.name):
        named = dataclasses.replace(file, name=f"{file.name}:{member.name}")
        start = member.offset_data
        yield Extent(named, start, member.size, lines_start=start)


def _read_part(extents: Sequence[Extent], reading: Reading) -> pa.Table:
    """Returns the valid ratings of some extents."""
    chunks = [extent.read() for extent in extents]
    sizes = [len(chunk) for chunk in chunks]
    parser = _Parser(b"".join(chunks), extents, np.append(0, np.cumsum(sizes)))
    del chunks
    table = parser.parse_valid(reading.scale)
    if table is None:
        table = parser.parse_and_reject(reading.rejects, reading.scale)
    return table


class _Parser:
    """Parses the text of some extents.

    Args:
        data: the bytes of all extents.
        extents: the extents.
        edges: the offset of each extent in `data`, and the end.
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
        # Lines that are not ratings: their number, not counting empty lines,
        # and their text.
        self._skipped: list[tuple[int, str]] = []

    def parse_valid(self, scale: Scale | None) -> pa.Table | None:
        """Returns the ratings if all lines are valid, `None` otherwise."""
        try:
            table = self._parse(_FAST_TYPES)
        except pa.ArrowInvalid:
            return None
        ratings = table["rating"].to_numpy()
        lowest, highest = (
            (scale.lowest, scale.highest) if scale else (-3.4e38, 3.4e38)
        )
        is_valid = (
            all(_is_item(line) for _, line in self._skipped)
            and ((ratings >= lowest) & (ratings <= highest)).all()
            # Nothing in digits has to be removed or is missing.
            and pc.all(pc.ascii_is_decimal(table["user"])).as_py() is not False
        )
        if not is_valid:
            return None
        days = table["date"].cast(pa.int32()).to_numpy().astype(np.float64)
        return pa.table(
            {
                "user_id": table["user"],
                "item_id": self._repeat_items(table.num_rows),
                "rating": ratings,
                "timestamp": days * _SECONDS_PER_DAY,
            }
        )

    def parse_and_reject(
        self, rejects: Rejects, scale: Scale | None
    ) -> pa.Table:
        """Returns the valid ratings, and rejects the other lines."""
        self._check_utf8()
        table = self._parse(dict.fromkeys(_HEADERS, pa.string()))
        table = table.append_column(
            "item_id", self._repeat_items(table.num_rows).cast(pa.string())
        ).append_column("number", pa.array(np.arange(table.num_rows)))
        rows = validate(table, _COLUMNS, scale, origin="number")
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

    def _repeat_items(self, num_rows: int) -> pa.DictionaryArray:
        """Returns the item of each rating: that of the last line `item:`."""
        is_item = [_is_item(line) for _, line in self._skipped]
        lines = np.array([number for number, _ in self._skipped], np.int64)
        # The number of ratings before each skipped line.
        num_before = lines - np.arange(len(lines))
        edges = np.append(num_before[is_item], num_rows)
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
    ) -> RejectedRow:
        user, _, rating, date = (text or "" for text in row["fields"])
        number = _to_line(row["origin"], [line for line, _ in self._skipped])
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
                f" of an item. Received: {excerpt(line)}",
            )
            for number, line in lines[:NUM_KEPT]
        )

    def _describe(
        self,
        rejects: Rejects,
        number: int,
        reason: str,
        text: str,
        problem: str,
    ) -> RejectedRow:
        extent, offset = self._locate(int(self._line_starts[number]))
        file = extent.file
        rejects.find_lines_with(file.name, extent.find_lines)
        return RejectedRow(
            file.number, offset, reason, file.name, text, problem
        )

    def _locate(self, position: int) -> tuple[Extent, int]:
        """Returns the extent of a byte, and its offset in the file."""
        k = int(np.searchsorted(self._edges, position, side="right")) - 1
        extent = self._extents[k]
        return extent, extent.start + position - int(self._edges[k])

    @functools.cached_property
    def _line_starts(self) -> npt.NDArray[np.int64]:
        """The offset of each line that is not empty."""
        data = np.frombuffer(self._data, np.uint8)
        ends = np.flatnonzero(data == ord("\n"))
        starts = np.append(0, ends[:-1] + 1)
        has_return = (data[ends - 1] == ord("\r")) & (ends > starts)
        return starts[ends - has_return > starts]


def _is_item(line: str) -> bool:
    return line.endswith(":") and line[:-1].isdecimal()


def _to_line(row: int, skipped: Sequence[int]) -> int:
    """Returns the line of a rating, not counting empty lines.

    Args:
        row: the number of ratings before it.
        skipped: the lines that are not ratings.
    """
    line = row
    for number in skipped:
        if number > line:
            break
        line += 1
    return line
