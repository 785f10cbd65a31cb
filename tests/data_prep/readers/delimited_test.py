import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from data_prep.dataset.errors import UserError
from data_prep.rules.columns import Columns
from data_prep.rules.row_rules import Scale
from data_prep.sources.files import Files
from tests.data_prep.helpers import read_source

HEADER = "userId,movieId,rating,timestamp\n"
PLAIN = [("1", "10", 4.5, 100.0), ("2", "20", 0.0, 200.0)]


def load(tmp_path, *contents, columns=None, name="ratings", max_bad_rows=0):
    """Writes the contents to files and returns what is read from them."""
    paths = []
    for number, content in enumerate(contents):
        path = tmp_path / f"{name}{number}"
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(data)
        paths.append(str(path))
    source = Files(tuple(paths), columns or Columns())
    rows, rejects = read_source(source, tmp_path)
    rejects.check(len(rows) + rejects.counts.total(), max_bad_rows)
    return rows


def to_parquet(tmp_path, **columns):
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table(columns), path)
    return path.read_bytes()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(HEADER + "1,10,4.5,100\n2,20,0,200\n", id="csv"),
        pytest.param(
            "timestamp,rating,extra,item_id,user_id\n"
            "100,4.5,x,10,1\n200,0,y,20,2\n",
            id="columns_in_another_order",
        ),
        pytest.param(
            "\ufeffuser,item,score,ts\n1,10,4.5,100\n2,20,0,200", id="bom"
        ),
        pytest.param(
            "User ID,Item ID,Rating,Date\r\n1,10,4.5,100\r\n2,20,0,200\r\n",
            id="windows_line_ends",
        ),
        pytest.param("1,10,4.5,100\n2,20,0,200\n", id="csv_without_header"),
        pytest.param("1\t10\t4.5\t100\n2\t20\t0\t200\n", id="u.data"),
        pytest.param("1::10::4.5::100\n2::20::0::200\n", id="ratings.dat"),
        pytest.param(
            "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
            "1\t10\t4.5\t100\n\n2\t20\t0\t200\n",
            id="inter_with_an_empty_line",
        ),
    ],
)
def test_usual_formats_are_recognised(tmp_path, content):
    assert load(tmp_path, content) == PLAIN


def test_files_of_several_formats_are_read_together(tmp_path):
    parquet = to_parquet(tmp_path, user=[1], item=[10], rating=[4.5], ts=[100])
    assert load(tmp_path, parquet, "2::20::0::200\n") == PLAIN


def test_columns_can_be_named(tmp_path):
    columns = Columns("who", "what", "liked", "when")
    content = "rating,what,who,liked,when\n9,10,1,4.5,100\n9,20,2,0,200\n"
    assert load(tmp_path, content, columns=columns) == PLAIN


def test_timestamp_may_be_missing(tmp_path):
    assert load(tmp_path, "user,item,rating\n1,10,-3.5\n") == [
        ("1", "10", -3.5, None)
    ]
    assert load(tmp_path, "1,10,-3.5\n") == [("1", "10", -3.5, None)]


def test_ids_stay_text(tmp_path):
    content = HEADER + "007,0x1F,1,1\nNancy,1e3,1,1\né😀,1.10,1,1\n"
    ids = [row[:2] for row in load(tmp_path, content)]
    assert ids == [("007", "0x1F"), ("Nancy", "1e3"), ("é😀", "1.10")]


def test_quotes_protect_in_csv(tmp_path):
    content = HEADER + '1,"a, ""b""\n\tc",1,1\n2,it\'s,1,1\n'
    assert [row[1] for row in load(tmp_path, content)] == [
        'a, "b"\n\tc',
        "it's",
    ]


def test_quotes_are_letters_between_tabs_and_double_colons(tmp_path):
    tabs = 'user\titem\trating\n1\t"Crocodile" Dundee, Mr.\t3\n2\t"\t4\n'
    assert [row[1] for row in load(tmp_path, tabs)] == [
        '"Crocodile" Dundee, Mr.',
        '"',
    ]
    colons = '1::"a"b::3::1\n2::c:d::3::1\n'
    assert [row[1] for row in load(tmp_path, colons)] == ['"a"b', "c:d"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("978300760", 978300760.0),
        ("978300760.5", 978300760.5),
        ("978300760000", 978300760.0),
        ("-86400", -86400.0),
        ("2000-12-31", 978220800.0),
        ("2000-12-31 22:12:40", 978300760.0),
        ("2000-12-31T22:12:40Z", 978300760.0),
        ("2000-12-31T23:12:40+01:00", 978300760.0),
    ],
)
def test_usual_timestamps_are_understood(tmp_path, text, seconds):
    assert load(tmp_path, f"{HEADER}1,2,3,{text}\n")[0][3] == seconds


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            HEADER + "1,2,3,4\n1,2,good,4\n",
            r"ratings0:3: the rating \(column rating\) must be a finite number."
            r" Received: 'good'",
            id="rating_is_not_a_number",
        ),
        pytest.param(HEADER + "1,2,,4\n", "0:2: .*''", id="no_rating"),
        pytest.param(HEADER + "1,2,nan,4\n", "Received: 'nan'", id="nan"),
        pytest.param(HEADER + "1,2,-inf,4\n", "'-inf'", id="infinite"),
        pytest.param(HEADER + "1,2,1e39,4\n", "Received: '1e39'", id="too_big"),
        pytest.param(
            HEADER + ",2,3,4\n",
            r"0:2: the user \(column userId\) must not be empty",
            id="no_user",
        ),
        pytest.param(
            HEADER + '1,"",3,4\n',
            r"0:2: the item \(column movieId\) must not be empty",
            id="no_item",
        ),
        pytest.param(
            HEADER + "1,2,3,yesterday\n",
            r"the timestamp \(column timestamp\) must be Unix seconds, Unix"
            r" milliseconds or an ISO date.*'yesterday'",
            id="timestamp",
        ),
        pytest.param(
            HEADER + '1,"two\nlines",3,4\n\n1,2,x,4\n',
            "ratings0:5: the rating",
            id="line_number_after_a_quoted_newline_and_an_empty_line",
        ),
        pytest.param(
            "1::2::3::4\n1::2::x::4\n",
            r"ratings0:2: the rating \(column 3\)",
            id="positional",
        ),
        pytest.param(
            HEADER + "1,2,3,4\n1,2,3\n",
            r"ratings0:3: expected 4 fields \(userId, movieId, rating,"
            r" timestamp\). Received 3: \['1', '2', '3'\]",
            id="too_few_fields",
        ),
        pytest.param(
            HEADER + "1,2,3,4,5\n", "0:2: expected 4.*Received 5", id="too_many"
        ),
        pytest.param(
            HEADER + '1,"2"0,3,4\n', r"0:2: .*quoting", id="letters_after_quote"
        ),
        pytest.param(
            HEADER + '1,2,3,4\n1,"2,3,4\n1,2,3,4\n',
            r"0:3: .*quoting",
            id="open_quote",
        ),
        pytest.param(
            b"1,caf\xe9,3,4\n", "0:1: must be UTF-8 text", id="latin_1"
        ),
        pytest.param(
            HEADER.encode() + b"1,2,3,4\n1,caf\xe9,3,4\n",
            "0:3: must be UTF-8 text",
            id="latin_1_later",
        ),
        pytest.param(
            "user\titem\trating\n1\t2\t3\r\n",
            r"0:2: lines must all end alike",
            id="mixed_line_ends",
        ),
        pytest.param(
            HEADER.replace("\n", "\r") + "1,2,3,4\r",
            r"0:1: lines must end in \\n or in \\r\\n, not in \\r alone",
            id="line_ends_of_old",
        ),
        pytest.param("", "ratings0 is empty", id="empty_file"),
        pytest.param(
            "user,item,stars out of 5\n1,2,3\n",
            r"no rating column. Its columns are: user, item, stars out of 5."
            r" Name the right one with --rating-column",
            id="missing_column",
        ),
        pytest.param(
            "user,userId,item,rating\n1,2,3,4\n",
            "several user columns: user, userId.*--user-column",
            id="ambiguous_column",
        ),
        pytest.param(
            b"PAR1", "ratings0 is damaged: Parquet", id="truncated_parquet"
        ),
    ],
)
def test_first_bad_row_is_named(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        load(tmp_path, content)


def test_bad_row_of_a_later_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"ratings1:3: the rating.*'x'"):
        load(tmp_path, HEADER + "1,2,3,4\n", HEADER + "1,2,3,4\n1,2,x,4\n")


def test_named_column_that_is_missing_is_named(tmp_path):
    with pytest.raises(
        UserError, match=r"no user column 'nope'. Its columns are: userId,"
    ):
        load(tmp_path, HEADER + "1,2,3,4\n", columns=Columns(user="nope"))


def test_directory_is_not_a_file(tmp_path):
    source = Files((str(tmp_path),), Columns())
    with pytest.raises(UserError, match=r"is a directory .*Name its files"):
        read_source(source, tmp_path)


def test_remote_files_are_read_through_gfile(tmp_path):
    """TensorFlow's in-memory file system stands for a bucket."""
    path = "ram://bucket/ratings.csv"
    with tf.io.gfile.GFile(path, "w") as file:
        file.write(HEADER + "1,10,4.5,100\n2,20,x,200\n")
    rows, rejects = read_source(Files((path,), Columns()), tmp_path)
    assert rows == PLAIN[:1]
    (rejected,) = rejects.first
    assert rejected.message.startswith("ram://bucket/ratings.csv:3: the rating")


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_compressed_text_is_read_as_it_is(tmp_path, compression):
    compressed = pa.compress(
        (HEADER + "1,10,4.5,100\n2,20,0,200\n").encode(),
        codec=compression,
        asbytes=True,
    )
    assert load(tmp_path, compressed) == PLAIN


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_truncated_compressed_file_is_a_users_error(tmp_path, compression):
    text = HEADER + "".join(
        f"{k},{k * 7919 % 997},3,4\n" for k in range(90_000)
    )
    compressed = pa.compress(text.encode(), codec=compression, asbytes=True)
    half = compressed[: len(compressed) // 2]
    with pytest.raises(UserError, match="ratings0"):
        load(tmp_path, half)


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        pytest.param(
            "100,4.5,x,10,1\n200,0,y,20,2\n",
            Columns("5", "4", "2", "1"),
            id="without_header",
        ),
        pytest.param(
            "a,b,c,d,e\n100,4.5,x,10,1\n200,0,y,20,2\n",
            Columns("5", "4", "2", "1"),
            id="with_header",
        ),
        pytest.param(
            "1\t10\t4.5\tx\t100\n2\t20\t0\ty\t200\n",
            Columns("1", "2", "3", "5"),
            id="tabs",
        ),
    ],
)
def test_columns_can_be_positions(tmp_path, content, columns):
    assert load(tmp_path, content, columns=columns) == PLAIN


def test_bad_rows_are_counted_by_reason_and_the_rest_is_used(tmp_path):
    content = HEADER + (
        "1,10,4.5,100\n"
        ",10,4.5,100\n"
        "1,,4.5,100\n"
        "1,10,,100\n"
        "1,10,x,100\n"
        "1,10,9,100\n"
        "1,10,4,\n"
        "1,10,4,soon\n"
        "1,10,4\n"
        "1,10,4,5,6\n"
        "2,20,0,200\n"
    )
    path = tmp_path / "ratings.csv"
    path.write_text(content)
    source = Files((str(path),), Columns())
    rows, rejects = read_source(source, tmp_path, scale=Scale(0, 5))
    assert rows == PLAIN
    assert rejects.counts == {
        "missing_user": 1,
        "missing_item": 1,
        "missing_rating": 1,
        "unreadable_rating": 1,
        "off_scale_rating": 1,
        "missing_timestamp": 1,
        "unreadable_timestamp": 1,
        "malformed_line": 2,
    }
    assert [row.line for row in rejects.first] == list(range(3, 12))
    assert rejects.first[4].message == (
        f"{path}:7: the rating (column rating) must be on the scale 0:5."
        " Received: '9'"
    )


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_first_bad_rows_of_many_parts_are_found_in_their_lines(
    tmp_path, compression
):
    """Of each reason ten, whatever the parts they were read in."""
    lines = [f"{k},1,{'x' if k % 3 else 3},{k}" for k in range(400)]
    lines[7] = ",1,3,7"
    lines[395] = ",1,3,395"
    content = (HEADER + "\n".join(lines)).encode()
    if compression:
        content = pa.compress(content, compression, asbytes=True)
    path = tmp_path / "ratings.csv"
    path.write_bytes(content)
    source = Files((str(path),), Columns())
    _, rejects = read_source(source, tmp_path, rows_per_part=16)
    bad = [k for k in range(400) if k % 3 and k not in (7, 395)]
    assert rejects.counts == {
        "unreadable_rating": len(bad),
        "missing_user": 2,
    }
    expected = sorted([*bad[:10], 7, 395])
    assert [(row.line, row.text) for row in rejects.first] == [
        (k + 2, lines[k]) for k in expected
    ]
    assert pickle.loads(pickle.dumps(rejects)).first == rejects.first


def test_texts_of_json_may_look_like_other_values(tmp_path):
    content = (
        '{"user": "true", "item": "[1]", "rating": "3"}\n'
        '{"user": 7.0, "item": "{}", "rating": 4}\n'
    )
    assert load(tmp_path, content) == [
        ("true", "[1]", 3.0, None),
        ("7", "{}", 4.0, None),
    ]


def test_values_of_json_that_are_no_ids_are_named(tmp_path):
    def row(user, rating=3):
        return f'{{"user": {user}, "item": "a", "rating": {rating}}}\n'

    # More than is looked at to recognize the columns.
    content = "".join(map(row, range(3_000)))
    content += row("true") + row('["u", null]') + row('{"é": [1, "x"]}')
    content += row("null") + row(1, "true")
    path = tmp_path / "ratings.json"
    path.write_text(content)
    rows, rejects = read_source(Files((str(path),), Columns()), tmp_path)
    assert len(rows) == 3_000
    assert [
        (row.line, row.reason, row.message.partition("Received: ")[2])
        for row in rejects.first
    ] == [
        (3_001, "unreadable_user", "'true'"),
        (3_002, "unreadable_user", """'["u",null]'"""),
        (3_003, "unreadable_user", """'{"é":[1,"x"]}'"""),
        (3_004, "missing_user", "''"),
        (3_005, "unreadable_rating", "'true'"),
    ]


def test_equal_bad_rows_are_found_one_after_the_other(tmp_path):
    path = tmp_path / "ratings.csv"
    path.write_text(HEADER + "1,2,x,4\n1,2,3,4\n1,2,x,4\n")
    _, rejects = read_source(Files((str(path),), Columns()), tmp_path)
    assert [row.line for row in rejects.first] == [2, 4]


def test_file_that_disappears_is_named(tmp_path):
    path = tmp_path / "ratings.csv"
    with pytest.raises(FileNotFoundError, match=str(path)):
        read_source(Files((str(path),), Columns()), tmp_path)
