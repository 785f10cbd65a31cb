import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from serving.demo.catalog import Catalog, Item, read_catalog


def search(titles, query, limit=10):
    """The titles found, where each is an id as well."""
    items = pa.chunked_array([titles], pa.string())
    found = Catalog(items, items).search(query, limit)
    return [item.title for item in found]


@pytest.mark.parametrize(
    ("query", "title"),
    [
        ("AMELIE", "Amélie (2001)"),
        ("amélie", "AMELIE (2001)"),
        ("schindlers", "Schindler's List"),
        ("schindler\N{RIGHT SINGLE QUOTATION MARK}s", "Schindler's List"),
        ("the matrix", "Matrix, The (1999)"),
        ("alien 1979", "Alien (1979)"),
        ("star wars: a", "Star Wars - A New Hope"),
        ("sta", "Star Wars"),
        ("straße", "STRASSE, straße"),
        ("物語", "東京物語"),
        ("lien", "Alien (1979)"),
        ("tel) [a-z]* \\", "Tel A.Z."),
    ],
)
def test_case_accents_punctuation_and_the_order_of_words_do_not_matter(
    query, title
):
    assert search(["Nothing Else", title], query) == [title]


@pytest.mark.parametrize("query", ["alien 1986", "aliens 79", "x"])
def test_every_word_must_be_there(query):
    assert search(["Alien (1979)", "Contact (1997)"], query) == []


def test_titles_that_begin_with_the_query_come_first_then_words_that_do():
    titles = ["Unmanned", "The Old Man", "Iron Man", "Man on the Moon"]
    assert search(titles, "man") == [
        "Man on the Moon",
        "The Old Man",
        "Iron Man",
        "Unmanned",
    ]


def test_among_equals_the_most_rated_comes_first():
    titles = ["Rocky III", "Rocky", "Rocky II"]
    assert search(titles, "rocky") == titles
    assert search(titles, "rocky", limit=2) == titles[:2]


def test_an_item_is_found_by_its_id_before_all_titles():
    item_ids = pa.chunked_array([["8", "7", "12"]])
    titles = pa.chunked_array([["Ocean's 12", None, "12 Angry Men"]])
    found = Catalog(item_ids, titles).search("12", 2)
    assert found == [Item("12", "12 Angry Men"), Item("8", "Ocean's 12")]


@pytest.mark.parametrize("query", ["", " ", "?!"])
def test_without_words_the_most_rated_items_are_found(query):
    assert search(["Rocky", "Alien", "Moon"], query, 2) == ["Rocky", "Alien"]


def write_items(job_dir, **columns):
    path = job_dir / "vocabulary" / "items.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table(columns), path)


def test_items_are_read_in_the_order_of_their_index(tmp_path):
    write_items(
        tmp_path,
        index=[1, 0, 2],
        item_id=["b", "a", "c"],
        title=["Brazil", "Alien", None],
    )
    catalog = read_catalog(str(tmp_path))
    assert catalog.search("", 10) == [
        Item("a", "Alien"),
        Item("b", "Brazil"),
        Item("c", "c"),
    ]
    assert catalog.title_of("b") == "Brazil"
    assert catalog.title_of("of another model") == "of another model"


def test_a_directory_without_items_is_refused_by_name(tmp_path):
    with pytest.raises(
        ValueError, match=r"items.parquet does not exist: --job_dir must be"
    ):
        read_catalog(str(tmp_path))


def test_a_file_that_is_no_table_of_items_is_refused_by_name(tmp_path):
    write_items(tmp_path, number=[1])
    with pytest.raises(ValueError, match=r"items.parquet is no table of items"):
        read_catalog(str(tmp_path))
    path = tmp_path / "vocabulary" / "items.parquet"
    path.write_text("no Parquet")
    with pytest.raises(ValueError, match=r"items.parquet is no table of items"):
        read_catalog(str(tmp_path))
