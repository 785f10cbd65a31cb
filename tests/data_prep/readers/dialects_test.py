"""Random tables in random dialects, read back equal."""

import bz2
import csv
import gzip
import io
import lzma
import pathlib
import tempfile

import hypothesis
import pandas
import pytest
from hypothesis import strategies as st

from data_prep.readers.dialects import Dialect, recognize_dialect, unquote
from data_prep.sources.registry import make_source
from tests.data_prep.helpers import read_source

NAMES = ("user_id", "item_id", "rating", "timestamp")

# What CSV needs quotes for, and what other libraries take for line ends. Ids
# are neither numbers nor missing, and have no blanks around, by their "i".
_LETTERS = st.sampled_from(
    [*"ab7.,;|:'\"\t\n éЖ😀-_", "\x85", "\u2028", "\xa0"]
)
_IDS = st.text(_LETTERS, max_size=8).map(lambda text: f"i{text}i")
_ROWS = st.lists(
    st.tuples(
        _IDS,
        _IDS,
        st.integers(-20, 20).map(lambda half: half / 2),
        st.integers(0, 2**31),
    ),
    min_size=1,
    max_size=12,
)
_COMPRESS = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


@st.composite
def dialects(draw):
    """How Python's csv writes: separator, quotes, line ends."""
    return {
        "delimiter": draw(st.sampled_from(",;\t|")),
        "quoting": draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
        "lineterminator": draw(st.sampled_from(["\n", "\r\n"])),
    }


def write(rows, dialect, order):
    """Writes rows by Python's csv, the columns in some order."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, **dialect)
    writer.writerow([NAMES[k] for k in order])
    writer.writerows([row[k] for k in order] for row in rows)
    return buffer.getvalue()


def read(content, name="ratings.csv", **options):
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, name)
        path.write_bytes(content)
        source = make_source("files", ratings=str(path), **options)
        rows, rejects = read_source(source, directory)
    assert not rejects.counts
    return rows


@hypothesis.given(
    rows=_ROWS,
    dialect=dialects(),
    order=st.permutations(range(4)),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    suffix=st.sampled_from([*_COMPRESS]),
)
@hypothesis.settings(max_examples=30)
def test_what_python_writes_is_read_back(
    rows, dialect, order, encoding, suffix
):
    content = write(rows, dialect, order).encode(encoding)
    assert read(_COMPRESS[suffix](content), f"ratings.csv{suffix}") == rows


@hypothesis.given(rows=_ROWS, dialect=dialects())
@hypothesis.settings(max_examples=20)
def test_what_is_read_is_what_pandas_reads(rows, dialect):
    content = write(rows, dialect, range(4))
    frame = pandas.read_csv(
        io.StringIO(content, newline=""),
        sep=dialect["delimiter"],
        dtype={"user_id": str, "item_id": str},
        keep_default_na=False,
    )
    expected = [tuple(row) for row in frame.itertuples(index=False)]
    assert read(content.encode()) == expected


@hypothesis.given(rows=_ROWS, separator=st.sampled_from(["::", "  ", " \t"]))
@hypothesis.settings(max_examples=15)
def test_lines_without_header_are_read_back(rows, separator):
    plain = [
        (*("".join(filter(str.isalnum, i)) for i in row[:2]), *row[2:])
        for row in rows
    ]
    lines = [separator.join(map(str, row)) for row in plain]
    assert read("\n".join(lines).encode()) == plain


@hypothesis.given(rows=_ROWS)
@hypothesis.settings(max_examples=20)
def test_lines_of_json_are_read_back(rows):
    frame = pandas.DataFrame(rows, columns=NAMES)
    content = frame.to_json(orient="records", lines=True)
    assert read(content.encode()) == rows


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["a,b;c,d", "e,f;g,h"], Dialect(",")),
        (["a;1,5;2", "b;2,5;3"], Dialect(";")),
        (["a|b\tc|d\te", "f|g\th|i\tj"], Dialect("\t", quotes=False)),
        (['a\t"b\tc"\td', "e\tf\tg"], Dialect("\t")),
        (["a::b|c::d,e"], Dialect("::", quotes=False)),
        (['a, "b", c'], Dialect(",", skips_blanks=True)),
        (["one line of text"], Dialect(" ", quotes=False)),
        (["word"], Dialect(",")),
    ],
)
def test_separator_is_the_one_that_divides_most_lines_alike(lines, expected):
    assert recognize_dialect(lines, lambda fields: len(fields) == 3) == (
        expected
    )


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ('"a"', "a"),
        ('"a ""b"""', 'a "b"'),
        ('""', ""),
        ('"', '"'),
        ('"a" b', '"a" b'),
        ('"a" "b"', '"a" "b"'),
    ],
)
def test_only_quotes_around_a_whole_field_are_removed(field, expected):
    assert unquote(field) == expected
