import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.dataset.errors import UserError
from data_prep.dataset.items import read_items
from data_prep.options import Options
from data_prep.prepare import prepare
from data_prep.readers.titles import read_titles
from data_prep.splits.registry import make_split


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        pytest.param(
            "movies.dat",
            "1::Toy Story (1995)::Animation\n2::L\xe9on::Crime\n".encode(
                "latin-1"
            ),
            {"1": "Toy Story (1995)", "2": "Léon"},
            id="movielens_dat",
        ),
        pytest.param(
            "u.item",
            b"1|Toy Story (1995)|01-Jan-1995||http\n",
            {"1": "Toy Story (1995)"},
            id="u.item",
        ),
        pytest.param(
            "movies.csv",
            b'movieId,title,genres\n11,"American President, The (1995)",x\n',
            {"11": "American President, The (1995)"},
            id="movielens_csv",
        ),
        pytest.param(
            "movie_titles.txt",
            b"1,2003,Dinosaur Planet\n2,NULL,Me, Myself & Irene\n",
            {"1": "Dinosaur Planet (2003)", "2": "Me, Myself & Irene"},
            id="netflix",
        ),
        pytest.param(
            "ml.item",
            b"item_id:token\tmovie_title:token_seq\trelease_year:token\n"
            b"1\tToy Story\t1995\n",
            {"1": "Toy Story (1995)"},
            id="atomic_file",
        ),
        pytest.param(
            "table.csv", b"name,item id\nHeat,7\n", {"7": "Heat"}, id="table"
        ),
        pytest.param(
            "BX-Books.csv",
            b'"ISBN";"Book-Title";"Book-Author";"Year-Of-Publication"\n'
            b'"07X";"Salt &amp; Pepper; Sugar";"Caf\xe9";"0"\n',
            {"07X": "Salt & Pepper; Sugar"},
            id="book_crossing",
        ),
        pytest.param(
            "table.tsv",
            b'item_id\ttitle\n1\t"The ""X"" Files"\n2\t"X" Files\n',
            {"1": 'The "X" Files', "2": '"X" Files'},
            id="quotes_between_tabs",
        ),
        pytest.param(
            "table.csv",
            b'item_id,title\n1,"Heat,\r\n again"\n2,"a"\n',
            {"1": "Heat, again", "2": "a"},
            id="quoted_line_ends",
        ),
        pytest.param(
            "movies.dat",
            "1::Wait\x85 what (1999)::Drama\n2::Form\ffeed::X\n"
            "3::Line\u2028separator::X\n".encode(),
            {
                "1": "Wait\x85 what (1999)",
                "2": "Form\ffeed",
                "3": "Line\u2028separator",
            },
            id="letters_that_look_like_line_ends",
        ),
        pytest.param(
            "table.csv",
            b"item_id,title\n1,It\x92s here \x96 now\n2,Wait\x85\n3,\x81\n",
            {"1": "It’s here – now", "2": "Wait…", "3": "\x81"},  # noqa: RUF001
            id="cp1252",
        ),
        pytest.param(
            "table.csv",
            "item_id,title\n1,Léon\n2,Ünder\n".encode("utf-16"),
            {"1": "Léon", "2": "Ünder"},
            id="utf_16",
        ),
        pytest.param(
            "table.csv",
            b"item_id,title,year\n1,Heat (1995),1995\n2,Alien,1979.0\n"
            b"5,Alien (1979) [Cut],1979\n"
            b"3,Solaris,\n4,Dune (1984),2021\n",
            {
                "1": "Heat (1995)",
                "2": "Alien (1979)",
                "3": "Solaris",
                "4": "Dune (1984)",
                "5": "Alien (1979) [Cut]",
            },
            id="year_once",
        ),
        pytest.param(
            "films.csv",
            b'1,Film, The (1995)\n2,Heat, or "Heat"\n3,"Red, Blue"\n4,Up\n5\n'
            b"6,Big\n",
            {
                "1": "Film, The (1995)",
                "2": 'Heat, or "Heat"',
                "3": "Red, Blue",
                "4": "Up",
                "6": "Big",
            },
            id="commas_without_quotes",
        ),
        pytest.param(
            "films.csv",
            b"1,Film, The (1995),Drama\n2,Heat,Crime\n3,Up,Comedy\n4,Big\n",
            {"2": "Heat", "3": "Up"},
            id="commas_without_quotes_in_three_columns",
        ),
        pytest.param(
            "meta.json",
            b'{"asin": "07X", "title": "Tom &#38; Jerry", "price": [1]}\n'
            b'{"title": "Heat", "asin": "2"}\n[1]\n',
            {"07X": "Tom & Jerry", "2": "Heat"},
            id="json_lines",
        ),
        pytest.param(
            "table.csv",
            b"book_id,isbn,original_title,title\n7.0,1,x, Heat \nNaN,2,y,z\n",
            {"7": "Heat"},
            id="ids_by_the_rule_of_ratings",
        ),
    ],
)
def test_usual_files_are_recognised(tmp_path, name, content, expected):
    path = tmp_path / name
    path.write_bytes(content)
    assert read_titles(str(path), str(tmp_path)) == expected


def test_rows_without_id_and_title_are_counted(tmp_path, caplog):
    path = tmp_path / "items.csv"
    path.write_text("item_id,title\n1,Heat\n2\n\n3,a,b\n4,\n")
    assert read_titles(str(path), str(tmp_path)) == {"1": "Heat"}
    assert "3 of 4 rows hold no item id and title, the first in line 3." in (
        caplog.text
    )


def test_archive_of_movielens_holds_its_titles(tmp_path):
    path = tmp_path / "ml-1m.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ml-1m/ratings.dat", "1::2::3::4\n")
        archive.writestr("ml-1m/movies.dat", "2::Heat (1995)::Crime\n")
    assert read_titles(str(path), str(tmp_path)) == {"2": "Heat (1995)"}
    options = Options(titles=f"{path}/ml-1m/movies.dat")
    assert options.describe() == Options(titles=str(path)).describe()


def test_parquet_with_floats_is_read(tmp_path):
    path = tmp_path / "items.parquet"
    table = {"item": [7.0, None], "name": ["Heat", "x"], "year": [1995.0, 1.0]}
    pq.write_table(pa.table(table), path)
    assert read_titles(str(path), str(tmp_path)) == {"7": "Heat (1995)"}


def test_nested_types_are_named(tmp_path):
    path = tmp_path / "items.parquet"
    pq.write_table(pa.table({"item": [7], "name": [["Heat"]]}), path)
    with pytest.raises(UserError, match="the title column name must hold text"):
        read_titles(str(path), str(tmp_path))


def test_bytes_that_are_no_text_are_named(tmp_path):
    path = tmp_path / "items.parquet"
    pq.write_table(pa.table({"item": [7], "name": [b"\xff"]}), path)
    with pytest.raises(UserError, match="title column name must be UTF-8"):
        read_titles(str(path), str(tmp_path))


def test_parquet_is_read(tmp_path):
    path = tmp_path / "items.parquet"
    table = pa.table({"item_id": [7, 8], "title": ["Heat", None]})
    pq.write_table(table, path)
    assert read_titles(str(path), str(tmp_path)) == {"7": "Heat"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("item,genre\n1,x\n", "one of titles", id="no_title"),
        pytest.param("", "is empty", id="empty"),
        pytest.param("a,b\n1,x\n", "no item and no title", id="no_column"),
        pytest.param("item,title\n1,\n", "holds no titles", id="no_rows"),
        pytest.param(
            'item,title\n1,"Heat\n2,x\n', ":2: a quote is not", id="open_quote"
        ),
        pytest.param(
            f"item,title\n1,{'x' * (3 << 20)}\n",
            ":2: field larger than field limit",
            id="long_field",
        ),
        pytest.param(
            f"{'x' * (3 << 20)}\n", ":1: the field is too long", id="long_line"
        ),
        pytest.param('[{"item": 1}]', "one object per item", id="json"),
        pytest.param("item,title\r1,x\r", "not in .r alone", id="old_ends"),
        pytest.param("<!DOCTYPE html>\n", "is a web page", id="web_page"),
    ],
)
def test_unusable_files_are_named(tmp_path, content, message):
    path = tmp_path / "items.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        read_titles(str(path), str(tmp_path))


def test_titles_reach_the_items(source, tmp_path):
    path = tmp_path / "items.csv"
    path.write_text("item,title\ni1,Heat\nnobody,Nothing\n")
    output_dir = str(tmp_path / "out")
    options = Options(titles=str(path))
    prepare(source, make_split("random"), output_dir, options=options)
    items = read_items(output_dir)
    titles = dict(zip(items.item_ids, items.titles, strict=True))
    assert titles["i1"] == "Heat"
    assert set(titles.values()) == {"Heat", None}
