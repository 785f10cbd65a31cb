import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.dataset.errors import UserError
from data_prep.dataset.items import read_items
from data_prep.options import Options
from data_prep.prepare import prepare
from data_prep.sources.titles import read_titles
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
    ],
)
def test_usual_files_are_recognised(tmp_path, name, content, expected):
    path = tmp_path / name
    path.write_bytes(content)
    assert read_titles(str(path), str(tmp_path)) == expected


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
