"""What is recognized of a file, and what is said of other files."""

import bz2
import gzip
import io
import lzma
import zipfile

import pytest

from data_prep.dataset.errors import UserError
from data_prep.rules.columns import Columns
from data_prep.sources.registry import make_source
from tests.data_prep.helpers import read_source

PLAIN = [("1", "10", 4.5, 100.0), ("2", "20", 0.0, 200.0)]
CSV = "user,item,rating,timestamp\n1,10,4.5,100\n2,20,0,200\n"


def load(tmp_path, content, name="ratings", member="", **options):
    """Writes a file, and returns its rows and what was rejected."""
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    ratings = f"{path}/{member}" if member else str(path)
    source = make_source("files", ratings=ratings, **options)
    return read_source(source, tmp_path)


def to_zip(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(CSV.replace(",", ";").replace("4.5", "4,5"), id="german"),
        pytest.param(
            '"User-ID";"ISBN";"Book-Rating";"date"\n'
            '"1";"10";"4.5";"100"\n"2";"20";"0";"200"\n',
            id="book_crossing",
        ),
        pytest.param(CSV.replace(",", "|"), id="bars"),
        pytest.param("1|10|4.5|100\n2|20|0|200\n", id="bars_without_header"),
        pytest.param(CSV.replace(",", " "), id="blanks"),
        pytest.param("  1 10  4.5 100\n  2 20  0   200\n", id="aligned"),
        pytest.param(CSV.replace(",", ", "), id="blanks_after_commas"),
        pytest.param(
            '"1", "10", "4.5", 100\n"2", "20", "0", 200\n',
            id="quotes_after_blanks",
        ),
        pytest.param(
            '"1"\t"10"\t"4.5"\t100\n"2"\t"20"\t"0"\t200\n',
            id="tabs_and_quotes_without_header",
        ),
        pytest.param(
            CSV.replace(",", "\u00a0,\u00a0").replace("\n", "\u00a0\n"),
            id="no_break_blanks",
        ),
        pytest.param(CSV.encode("utf-16"), id="utf_16_as_of_excel"),
        pytest.param(
            '{"reviewerID": "1", "asin": "10", "overall": 4.5, "ts": 100}\n\n'
            '{"asin": 20, "overall": 0, "ts": 200, "reviewerID": 2}\n',
            id="json_lines",
        ),
        pytest.param(
            "% bip weighted\n% 2 2 2\n1 10 4.5 100\n2 20 0 200\n", id="konect"
        ),
        pytest.param(f"# of a shop\n#\n{CSV}", id="comments"),
        pytest.param(f"#{CSV}", id="sign_of_comments_before_the_header"),
        pytest.param(
            CSV.replace("user,item", "# item,user")
            .replace("1,10,", "10,1,")
            .replace("2,20,", "20,2,"),
            id="comment_that_is_the_header",
        ),
        pytest.param(f"sep=;\n{CSV.replace(',', ';')}", id="sep_of_excel"),
        pytest.param(bz2.compress(CSV.encode()), id="bzip2"),
        pytest.param(lzma.compress(CSV.encode()), id="xz"),
        pytest.param(to_zip({"a.csv": CSV}), id="zip_of_one_file"),
        pytest.param(
            to_zip(
                {
                    "ml-1m/README": "These are ratings.",
                    "ml-1m/movies.dat": "10::Heat (1995)::Crime\n",
                    "ml-1m/ratings.dat": "1::10::4.5::100\n2::20::0::200\n",
                    "__MACOSX/ml-1m/._ratings.dat": "?",
                }
            ),
            id="zip_of_movielens_1m",
        ),
        pytest.param(
            to_zip(
                {
                    "ml-100k/u.data": "1\t10\t4.5\t100\n2\t20\t0\t200\n",
                    "ml-100k/u.item": "10|Heat (1995)\n",
                    "ml-100k/u1.base": "1\t10\t4.5\t100\n",
                }
            ),
            id="zip_of_movielens_100k",
        ),
    ],
)
def test_formats_are_recognized(tmp_path, content):
    rows, rejects = load(tmp_path, content)
    assert rows == PLAIN
    assert not rejects.counts


def test_names_in_quotes_may_stand_between_blanks(tmp_path):
    content = 'user item rating\n"Ann Lee"  2 3\n"Bo"  4 5\n'
    assert [row[0] for row in load(tmp_path, content)[0]] == ["Ann Lee", "Bo"]


def test_text_may_begin_like_the_name_of_a_format(tmp_path):
    rows, _ = load(tmp_path, "orchid,10,4.5\n")
    assert rows == [("orchid", "10", 4.5, None)]


def test_ids_may_begin_with_the_sign_of_a_comment(tmp_path):
    rows, _ = load(tmp_path, "#1,10,4.5\n%2,20,0\n")
    assert [row[0] for row in rows] == ["#1", "%2"]


@pytest.mark.parametrize("separator", [",", " "])
def test_lines_are_counted_from_the_first_of_the_file(tmp_path, separator):
    lines = "# none,no,0\n# none\nu,i,3\nu,i,x\nu,i\n"
    rows, rejects = load(tmp_path, lines.replace(",", separator))
    assert len(rows) == 1
    assert [row.line for row in rejects.first] == [4, 5]


def test_nothing_may_follow_the_last_separator(tmp_path):
    rows, _ = load(tmp_path, "1\t2\t3\t\n4\t5\t6\t\n")
    assert rows == [("1", "2", 3.0, None), ("4", "5", 6.0, None)]


def test_quotes_protect_between_tabs_if_they_must(tmp_path):
    content = 'user\titem\trating\n1\t"a\tb"\t3\n2\t"c ""d"""\t4\n'
    rows, _ = load(tmp_path, content)
    assert [row[1] for row in rows] == ["a\tb", 'c "d"']


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "shift_jis"])
def test_other_encodings_are_named_by_a_flag(tmp_path, encoding):
    title = "アキラ" if encoding == "shift_jis" else "café"
    content = f"{title},10,4.5,100\n".encode(encoding)
    with pytest.raises(UserError, match=r":1: must be UTF-8 .*--encoding"):
        load(tmp_path, content)
    rows, _ = load(tmp_path, content, encoding=encoding)
    assert rows == [(title, "10", 4.5, 100.0)]


def test_separator_can_be_named(tmp_path):
    content = "user^item^rating\n1^10^3\n"
    with pytest.raises(UserError, match="--delimiter"):
        load(tmp_path, content)
    assert load(tmp_path, content, delimiter="^")[0] == [("1", "10", 3, None)]
    # By the number of fields, it could be another one as well.
    content = "1 2,3 4,5 6\n"
    assert (
        load(tmp_path, content)[0]
        == []
        != load(tmp_path, content, delimiter=" ")
    )


def test_files_of_different_headers_are_read_together(tmp_path):
    (tmp_path / "a.csv").write_text("user,item,rating\n1,10,4.5\n")
    (tmp_path / "b.csv").write_text("Book-Rating;ISBN;User-ID\n0;20;2\n")
    source = make_source("files", ratings=f"{tmp_path}/*.csv")
    assert read_source(source, tmp_path)[0] == [
        (*row[:3], None) for row in PLAIN
    ]


def test_member_of_an_archive_can_be_named(tmp_path):
    archive = to_zip({"new/a.csv": CSV, "old/a.csv": "user,item,rating\n"})
    with pytest.raises(UserError, match=r"of 2 files: new/a.csv, old/a.csv"):
        load(tmp_path, archive, name="a.zip")
    rows, _ = load(tmp_path, archive, name="a.zip", member="new/a.csv")
    assert rows == PLAIN
    with pytest.raises(UserError, match="holds no such file"):
        load(tmp_path, archive, name="a.zip", member="b.csv")


def test_lines_of_json_that_cannot_be_used_are_named(tmp_path):
    content = (
        '{"user": 1, "item": "a", "rating": 3}\n\n'
        '{"user": 1, "item": "b", "rating": "good"}\n[1]\n{"user": 1, "it\n'
    )
    rows, rejects = load(tmp_path, content)
    assert rows == [("1", "a", 3.0, None)]
    assert rejects.counts == {"unreadable_rating": 1, "missing_user": 2}
    assert [row.line for row in rejects.first] == [3, 4, 5]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            "28,-6.98,99,0.72,-8.8,99,-8.6,1\n27,4,99,99,1,1,-2.28,99\n",
            "is a matrix with 8 numbers per line.*--user-column",
            id="matrix_as_of_jester",
        ),
        pytest.param(
            "user,i1,i2,i3,i4,i5,i6,i7\nu1,1,,,2,,3,\n",
            "is a matrix with 8 numbers per line",
            id="matrix_with_header",
        ),
        pytest.param(
            "a,b,c\nx,y,z\n",
            "has no user column, no item column, no rating column. Its columns"
            " are: a, b, c. Name the right ones with --user-column"
            " --item-column --rating-column",
            id="all_missing_columns_at_once",
        ),
        pytest.param(
            '[{"user": 1}]\n', "JSON must be lines with one object", id="json"
        ),
        pytest.param(
            '{"user": {"id": 1}, "item": 2, "rating": 3}\n',
            "the user column user must hold a text or a number",
            id="nested_json",
        ),
        pytest.param(
            gzip.compress(b"PAR1"), "is Parquet in gzip", id="gzip_of_parquet"
        ),
        pytest.param(
            CSV.encode("utf-16-le"), "is no text.*utf-16-le", id="utf_16"
        ),
        pytest.param(to_zip({}), "without files", id="empty_zip"),
        pytest.param(
            to_zip({"a.zip": to_zip({"b.csv": CSV})}),
            "a.zip is compressed twice",
            id="zip_in_zip",
        ),
        pytest.param(
            gzip.compress(gzip.compress(CSV.encode())),
            "is compressed twice",
            id="gzip_in_gzip",
        ),
        pytest.param(b"ARROW1\0\0\n", "is an Arrow file. Write", id="arrow"),
        pytest.param(
            b"SQLite format 3\0\x10\0\x02\r\0\n",
            "is an SQLite database",
            id="sqlite",
        ),
        pytest.param("<!DOCTYPE html>\n", "is a web page", id="web_page"),
        pytest.param(
            to_zip({"xl/workbook.xml": ""}), "is an Excel workbook", id="excel"
        ),
        pytest.param(
            to_zip({"a.csv": CSV * 9})[:150], "cannot be unpacked", id="cut_zip"
        ),
        pytest.param(
            bz2.compress(CSV.encode())[:40], "is damaged", id="cut_bzip2"
        ),
        pytest.param(lzma.compress(CSV.encode())[:70], "damaged", id="cut_xz"),
    ],
)
def test_other_files_are_named_for_what_they_are(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        load(tmp_path, content)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("x" * 900_000, id="one_long_line"),
        pytest.param(b"\xff" * 900_000, id="bytes"),
        pytest.param(",".join(f"c{k}" for k in range(9_000)), id="wide_header"),
        pytest.param("[" + "1, " * 90_000, id="json"),
        pytest.param(to_zip({f"{k}.csv": "" for k in range(999)}), id="zip"),
    ],
)
def test_messages_show_little_of_a_file(tmp_path, content):
    with pytest.raises(UserError, match="ratings") as raised:
        load(tmp_path, content)
    assert len(str(raised.value)) < 1000


def test_messages_about_rows_show_little_of_them(tmp_path):
    long = "x" * 100_000
    content = f"user,item,rating\n1,2,{long}\n1,2,3,{long}\n1,2,3\n"
    _, rejects = load(tmp_path, content)
    assert rejects.counts.total() == 2
    assert all(len(row.message) < 1000 for row in rejects.first)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delimiter": ""}, "--delimiter must be one to four characters"),
        ({"delimiter": '"'}, "--delimiter must be one to four characters"),
        ({"encoding": "latin-0"}, "unknown --encoding 'latin-0'"),
        ({"encoding": "ascii"}, "is not text of the encoding ascii"),
    ],
)
def test_unusable_flags_are_named(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        load(tmp_path, CSV + "é,1,2,3\n", **options)


@pytest.mark.parametrize(
    "header",
    [
        "User-ID;ISBN;Book-Rating",
        "user_id;anime_id;rating",
        "userID;artistID;score",
        "Customer ID;Product ID;Stars",
        "reviewerID;asin;overall",
        "user_id;business_id;stars",
        "user_id:token;book_id:token;rating:float",
    ],
)
def test_usual_names_of_columns_are_known(tmp_path, header):
    rows, _ = load(tmp_path, f"{header}\n1;10;3\n")
    assert rows == [("1", "10", 3.0, None)]


def test_columns_named_by_position_may_follow_any_separator(tmp_path):
    columns = Columns(user="3", item="2", rating="1")
    rows, _ = load(tmp_path, "3;10;1;x\n4;20;2;y\n", columns=columns)
    assert rows == [("1", "10", 3.0, None), ("2", "20", 4.0, None)]


def test_a_column_is_named_for_one_role_only(tmp_path):
    with pytest.raises(UserError, match="column 1 cannot be two of"):
        Columns(user="1", item="1", rating="3")
    with pytest.raises(UserError, match=r"has no item column.*--item-column"):
        load(tmp_path, CSV, columns=Columns(user="item"))
    rows, _ = load(tmp_path, CSV, columns=Columns(rating="timestamp"))
    assert rows == [("1", "10", 100.0, None), ("2", "20", 200.0, None)]
