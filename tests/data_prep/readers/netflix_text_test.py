import random
import tarfile

import pyarrow as pa
import pytest

from data_prep.dataset.errors import UserError
from data_prep.readers import netflix_text
from data_prep.rules.columns import Columns
from data_prep.rules.row_rules import Scale
from data_prep.sources.files import Files
from data_prep.sources.registry import make_source
from tests.data_prep.helpers import read_source

DAY = 86_400.0
MOVIES = {
    "1": ["7,3,1970-01-02", "8,5,1970-01-03"],
    "2": ["7,1,1970-01-04"],
    "10": ["9,4,1970-01-05", "8,2,1970-01-02"],
}
ROWS = [
    ("7", "1", 3.0, 1 * DAY),
    ("8", "1", 5.0, 2 * DAY),
    ("7", "2", 1.0, 3 * DAY),
    ("9", "10", 4.0, 4 * DAY),
    ("8", "10", 2.0, 1 * DAY),
]


def to_text(movies):
    return "".join(
        "\n".join([f"{movie}:", *lines, ""]) for movie, lines in movies.items()
    )


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "training_set"
    folder.mkdir()
    for movie, lines in MOVIES.items():
        path = folder / f"mv_{int(movie):07d}.txt"
        path.write_text(to_text({movie: lines}))
    (folder / "README").write_text("not ratings")
    return folder


def read(pattern, tmp_path, **options):
    source = make_source("files", ratings=str(pattern))
    return read_source(source, tmp_path, **options)


@pytest.mark.parametrize("pattern", ["", "/", "/mv_*.txt"])
def test_folder_is_read_as_published(folder, tmp_path, pattern):
    rows, rejects = read(f"{folder}{pattern}", tmp_path)
    assert rows == ROWS
    assert not rejects.counts


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_archive_is_read_as_published(folder, tmp_path, compression):
    path = tmp_path / "training_set.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(folder, "training_set")
    if compression:
        path.write_bytes(pa.compress(path.read_bytes(), compression, True))
    assert read(path, tmp_path)[0] == ROWS


@pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_many_movies_in_a_file_are_read(tmp_path, compression, line_end):
    path = tmp_path / "combined_data_1.txt"
    data = to_text(MOVIES).replace("\n", line_end).encode()
    path.write_bytes(
        pa.compress(data, compression, True) if compression else data
    )
    assert read(path, tmp_path)[0] == ROWS


@pytest.mark.parametrize("bytes_per_part", [1, 20, 40, 1000])
def test_parts_end_where_a_movie_ends(tmp_path, monkeypatch, bytes_per_part):
    monkeypatch.setattr(netflix_text, "_BYTES_PER_PART", bytes_per_part)
    path = tmp_path / "combined.txt"
    path.write_text(to_text(MOVIES).rstrip("\n"))
    assert read(path, tmp_path)[0] == ROWS


@pytest.mark.parametrize("bytes_per_part", [1, 1 << 20])
def test_bad_rows_are_named_by_file_and_line(
    tmp_path, monkeypatch, bytes_per_part
):
    monkeypatch.setattr(netflix_text, "_BYTES_PER_PART", bytes_per_part)
    lines = [
        *("1:", "7,3,1970-01-02", "", ",3,1970-01-02", "8,,1970-01-02"),
        *("8,x,1970-01-02", "8,9,1970-01-02", "8,3", "8,3,1970-01-03,1"),
        *("2:", "8,3,someday", "8,nan,1970-01-02", "9,5,1970-01-02T12:00"),
    ]
    path = tmp_path / "combined.txt"
    path.write_text("\n".join(lines))
    rows, rejects = read(path, tmp_path, scale=Scale(1, 5))
    assert rows == [("7", "1", 3.0, DAY), ("9", "2", 5.0, 1.5 * DAY)]
    assert [(row.line, row.reason) for row in rejects.first] == [
        (4, "missing_user"),
        (5, "missing_rating"),
        (6, "unreadable_rating"),
        (7, "off_scale_rating"),
        (8, "malformed_line"),
        (9, "malformed_line"),
        (11, "unreadable_timestamp"),
        (12, "unreadable_rating"),
    ]
    assert rejects.counts.total() == 8
    assert rejects.first[3].message == (
        f"{path}:7: the rating (column rating) must be on the scale 1:5."
        " Received: '9'"
    )


def test_ids_stay_text(tmp_path):
    path = tmp_path / "combined.txt"
    path.write_text("007:\n007,3,1970-01-02\nnancy,3,1970-01-02\n")
    assert [row[:2] for row in read(path, tmp_path)[0]] == [
        ("007", "007"),
        ("nancy", "007"),
    ]


def test_text_must_be_utf8(tmp_path):
    path = tmp_path / "combined.txt"
    path.write_bytes(b"1:\n7,3,1970-01-02\nJos\xe9,3,1970-01-02\n")
    with pytest.raises(UserError, match=r"combined.txt:3: must be UTF-8"):
        read(path, tmp_path)


def test_archive_without_ratings_is_refused(tmp_path):
    path = tmp_path / "other.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(__file__, "test.py")
    with pytest.raises(
        UserError, match=r"is a tar archive that holds no mv_\*.txt"
    ):
        read(path, tmp_path)


def test_folder_and_combined_files_of_many_movies_are_alike(tmp_path):
    rng = random.Random(3)
    movies = {
        str(movie): [
            f"{rng.randrange(100)},{rng.randrange(1, 6)},2005-12-{day:02d}"
            for day in range(1, rng.randrange(2, 30))
        ]
        for movie in range(1, 60)
    }
    items = list(movies)
    for k in range(2):
        part = {item: movies[item] for item in items[k::2]}
        (tmp_path / f"combined_data_{k}.txt").write_text(to_text(part))
    folder = tmp_path / "folder"
    folder.mkdir()
    for item in items:
        text = to_text({item: movies[item]})
        (folder / f"mv_{item}.txt").write_text(text)
    combined, _ = read(f"{tmp_path}/combined_data_*.txt", tmp_path)
    separate, _ = read(folder, tmp_path)
    assert sorted(combined) == sorted(separate)
    assert len(combined) == sum(map(len, movies.values()))


def test_file_that_disappears_is_an_error(folder, tmp_path):
    source = make_source("files", ratings=str(folder))
    (folder / "mv_0000002.txt").unlink()
    with pytest.raises(FileNotFoundError, match="mv_0000002"):
        read_source(source, tmp_path)
    assert isinstance(source, Files)
    assert source.columns == Columns()
