import dataclasses
import os
import random

import hypothesis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import strategies as st

from data_prep.dataset.errors import UserError
from data_prep.dataset.items import read_items
from data_prep.dataset.manifest import is_prepared, read_manifest
from data_prep.engine import shards
from data_prep.engine.resources import Resources
from data_prep.options import Options
from data_prep.prepare import prepare
from data_prep.rules.rejects import RejectedRow
from data_prep.rules.row_rules import Scale
from data_prep.sources.registry import make_source
from data_prep.splits.registry import make_split
from tests.data_prep import oracle
from tests.data_prep.helpers import (
    TYPES,
    InMemorySource,
    read_back,
    read_cold_back,
    read_files,
)

pytestmark = pytest.mark.integration

SCHEMA = pa.schema(TYPES.items())
ORACLES = {
    "user-time": oracle.user_time,
    "global-time": oracle.global_time,
    "leave-last-out": oracle.leave_last_out,
    "random": oracle.random,
}
DUPLICATED_ROWS = st.lists(
    st.tuples(
        st.sampled_from(["1", "2", "3", "é\t", "007", "7"]),
        st.sampled_from(["a", 'b"', "c\n", "'d", "e::", "f,", "😀", "h"]),
        st.sampled_from([-1.0, 0.0, 2.5]),
        st.integers(0, 5).map(float),
    ),
    min_size=20,
    max_size=80,
)


def expect(rows, name, seed):
    """Returns what the oracle keeps, apart or not, and drops by reason."""
    unique = oracle.remove_duplicates(rows)
    kept, cold, dropped = oracle.keep_known(ORACLES[name](unique, seed))
    ratings = {(user, item): rating for user, item, rating, _ in unique}
    dropped["duplicate"] = len(rows) - len(unique)
    cold_ratings = {}
    for (user, item), part in cold.items():
        cold_ratings.setdefault((user, part), []).append(ratings[user, item])
    return (
        {key: (part, ratings[key]) for key, part in kept.items()},
        {key: sorted(values) for key, values in cold_ratings.items()},
        dropped,
    )


@pytest.mark.parametrize("name", ORACLES)
@hypothesis.given(rows=DUPLICATED_ROWS, seed=st.integers(0, 9))
@hypothesis.settings(max_examples=10)
def test_prepared_data_equals_the_oracle(name, rows, seed, tmp_path_factory):
    output_dir = str(tmp_path_factory.mktemp("prepared"))
    kept, cold, dropped = expect(rows, name, seed)
    arguments = InMemorySource(rows), make_split(name), output_dir
    if {part for part, _ in kept.values()} != set(oracle.PARTS):
        with pytest.raises(UserError, match=r"leaves no \w+ ratings"):
            prepare(*arguments, seed=seed)
        return
    manifest = prepare(*arguments, seed=seed, num_shards=3)
    found, order = read_back(output_dir)
    assert found == kept
    assert read_cold_back(output_dir) == cold
    assert len(order) == len(set(order)) == manifest.num_users
    assert manifest.rows_dropped == dropped
    assert manifest.rows_read == len(rows)
    parts = [part for part, _ in kept.values()]
    assert manifest.num_ratings == {p: parts.count(p) for p in oracle.PARTS}
    assert manifest.num_cold_ratings == {
        part: sum(len(cold[key]) for key in cold if key[1] == part)
        for part in oracle.PARTS[1:]
    }


@pytest.mark.parametrize(
    "name",
    [
        "user-time",
        *(
            pytest.param(name, marks=pytest.mark.extended)
            for name in ORACLES
            if name != "user-time"
        ),
    ],
)
def test_row_order_and_shard_count_do_not_change_the_split(
    name, rows, tmp_path
):
    split = make_split(name)
    first, again, other = (str(tmp_path / k) for k in "123")
    prepare(InMemorySource(rows), split, first)
    shuffled = InMemorySource(random.Random(1).sample(rows, len(rows)))
    prepare(shuffled, split, again)
    prepare(shuffled, split, other, num_shards=16)
    assert read_files(first) == read_files(again)
    assert read_back(first)[0] == read_back(other)[0]


@pytest.mark.parametrize(
    "rows_per_part", [pytest.param(1, marks=pytest.mark.slow), 10_000]
)
@pytest.mark.parametrize(
    ("ratings", "kept"),
    [
        pytest.param([(9, 1e6), (7, 1e6), (8, 0)], 7, id="last_of_the_latest"),
        pytest.param([(5, None), (1, None)], 1, id="last_without_times"),
        pytest.param([(5, 0.0), (1, None)], 5, id="one_with_a_time"),
    ],
)
def test_of_duplicates_the_latest_and_then_the_last_wins(
    ratings, kept, rows_per_part, rows, tmp_path
):
    rows += [("u", "i1", float(rating), time) for rating, time in ratings]
    source = InMemorySource(rows, rows_per_part=rows_per_part)
    manifest = prepare(source, make_split("random"), str(tmp_path))
    assert read_back(str(tmp_path))[0]["u", "i1"][1] == kept
    assert manifest.rows_dropped["duplicate"] == len(ratings) - 1


def test_last_of_duplicates_in_several_files_wins(rows, tmp_path):
    """In the order of the files, which have different columns."""
    lines = [",".join(map(str, row[:3])) for row in rows]
    again = [f"{user}\t{item}\t{9 - rating}" for user, item, rating, _ in rows]
    (tmp_path / "1.csv").write_text("\n".join(["user,item,rating", *lines]))
    (tmp_path / "2.tsv").write_text("\n".join(["user\titem\trating", *again]))
    expected = {row[:2]: 9 - row[2] for row in rows}
    ratings = f"{tmp_path}/1.csv,{tmp_path}/2.tsv"
    source = make_source("files", ratings=ratings)
    prepare(source, make_split("random"), str(tmp_path / "out"))
    found, _ = read_back(str(tmp_path / "out"))
    assert {key: rating for key, (_, rating) in found.items()} == expected


def test_rating_of_zero_is_a_rating(source, tmp_path):
    manifest = prepare(source, make_split("random"), str(tmp_path))
    zeros = [row for row in source.rows if row[2] == 0]
    found = read_back(str(tmp_path))[0]
    assert len(found) == len(source.rows)
    assert all(found[row[:2]][1] == 0 for row in zeros)
    assert (manifest.rating_min, manifest.rating_max) == (0, 5)


def test_missing_values_are_left_out_and_counted(rows, tmp_path):
    missing = [(f"u{k}", f"i{k}x", 99.0, 0.0) for k in range(9)]
    manifest = prepare(
        InMemorySource(missing + rows),
        make_split("random"),
        str(tmp_path),
        options=Options(missing_values=(99.0,)),
    )
    prepare(InMemorySource(rows), make_split("random"), str(tmp_path / "b"))
    assert read_back(str(tmp_path)) == read_back(str(tmp_path / "b"))
    assert manifest.rows_dropped == {"duplicate": 0, "missing_value": 9}
    assert manifest.rows_read == len(rows) + 9
    assert manifest.rating_max == 5
    assert manifest.options == {"missing_values": [99.0]}


def test_missing_values_are_not_off_the_scale(tmp_path):
    ratings = [99, *range(1, 6)] * 30
    file = tmp_path / "ratings.csv"
    lines = [f"{k // 9},{k % 9},{rating}" for k, rating in enumerate(ratings)]
    file.write_text("\n".join(["user,item,rating", *lines]))
    manifest = prepare(
        make_source("files", ratings=str(file)),
        make_split("random"),
        str(tmp_path / "out"),
        options=Options(rating_scale=Scale(1, 5), missing_values=(99.0,)),
    )
    assert manifest.rows_dropped["missing_value"] == 30
    assert manifest.rows_rejected == {}


def test_suspicious_values_are_warned_of(rows, tmp_path, caplog):
    rows += [(f"u{k}", "unseen", 99.0, 1e9) for k in range(30)]
    prepare(InMemorySource(rows), make_split("random"), str(tmp_path))
    (warning,) = [r.message for r in caplog.records if r.levelno == 30]
    assert "99 (30 of 1,230 ratings, 2.4 %) may mean 'not rated'" in warning


def test_exchanged_columns_are_warned_of(tmp_path, caplog):
    rows = [(f"i{k % 7}", f"u{k % 400}", 3.0, 1e9) for k in range(2_800)]
    prepare(InMemorySource(rows), make_split("random"), str(tmp_path))
    assert "400 items of 7.0 ratings on average, and only 7" in caplog.text


def test_manifest_gives_the_cuts_that_the_data_decided(source, tmp_path):
    manifest = prepare(source, make_split("global-time"), str(tmp_path))
    assert manifest.split == {
        "name": "global-time",
        "validation_fraction": 0.1,
        "test_fraction": 0.1,
        "cuts": {
            "validation": "1970-01-01T04:26:40+00:00",
            "test": "1970-01-01T05:00:00+00:00",
        },
    }


def test_same_command_again_leaves_the_files_alone(source, tmp_path):
    split = make_split("global-time")
    manifest = prepare(source, split, str(tmp_path))
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    assert prepare(source, split, str(tmp_path)) == manifest
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"seed": 5}, "its seed is 0, not 5", id="seed"),
        pytest.param({"num_shards": 2}, "num_shards is 8, not 2", id="shards"),
        pytest.param(
            {"split": make_split("user-time")},
            r"its split is \{'name': 'random'.*\}, not \{'name': 'user-time'\}",
            id="split",
        ),
        pytest.param(
            {"source": InMemorySource([])}, "its source is .*1200", id="source"
        ),
    ],
)
def test_other_prepared_data_is_not_overwritten(
    source, tmp_path, change, message
):
    first = {"source": source, "split": make_split("random")}
    prepare(**first, output_dir=str(tmp_path))
    before = read_files(tmp_path)
    with pytest.raises(UserError, match=message):
        prepare(**(first | change), output_dir=str(tmp_path))
    assert read_files(tmp_path) == before


def test_leftovers_are_replaced_and_other_files_stay(source, tmp_path):
    expected = str(tmp_path / "expected")
    prepare(source, make_split("random"), expected)
    output_dir = tmp_path / "output"
    (output_dir / "users").mkdir(parents=True)
    (output_dir / "users" / "part-00009-of-00012.tfrecord").write_text("half")
    (output_dir / "users" / "mine.txt").write_text("mine")
    (output_dir / "items.parquet").write_text("half")
    (output_dir / "notes.txt").write_text("mine")
    prepare(source, make_split("random"), str(output_dir))
    assert read_files(output_dir) == {
        **read_files(expected),
        "users/mine.txt": b"mine",
        "notes.txt": b"mine",
    }


@pytest.mark.parametrize(
    ("rows", "split", "message"),
    [
        pytest.param(
            [], make_split("random"), "holds no ratings", id="no_rows"
        ),
        pytest.param(
            [("u", "i", 1.0, None), ("u", "j", 1.0, 3.0)],
            make_split("user-time"),
            "1 of 2 ratings have no timestamp.*--timestamp-column",
            id="no_timestamp",
        ),
        pytest.param(
            [("u", "i", 1.0, 0.0)],
            make_split("user-time"),
            r"no train ratings.*dropped: 1 user_with_fewer_than_2_ratings",
            id="nothing_to_train_on",
        ),
        pytest.param(
            [("u", "i", 1.0, 0.0), ("v", "i", 1.0, 9e9)],
            make_split(
                "global-time",
                validation_from="2000-01-01",
                test_from="2001-01-01",
            ),
            "no validation ratings.*user_without_training.*--validation-from",
            id="nothing_to_validate_on",
        ),
        pytest.param(
            [(f"u{k % 9}", f"i{k % 10}", 1.0, 0.0) for k in range(90)],
            make_split("random", test_fraction=0),
            "no test ratings.*Change --validation-fraction and --test-fraction",
            id="nothing_to_test_on",
        ),
    ],
)
def test_ratings_that_do_not_fill_the_split_are_refused(
    rows, split, message, tmp_path
):
    with pytest.raises(UserError, match=message):
        prepare(InMemorySource(rows), split, str(tmp_path))
    assert not is_prepared(str(tmp_path))


def test_ratings_may_all_be_equal(rows, tmp_path):
    equal = [(user, item, 3.0, ts) for user, item, _, ts in rows]
    source = InMemorySource(equal)
    manifest = prepare(source, make_split("random"), str(tmp_path))
    assert manifest.rating_min == manifest.rating_max == 3.0
    assert manifest.rating_mean == 3.0


def test_result_that_cannot_be_written_is_a_users_error(source, tmp_path):
    (tmp_path / "items.parquet").mkdir()
    with pytest.raises(
        UserError, match=rf"cannot write to {tmp_path}: .*items.parquet"
    ):
        prepare(source, make_split("random"), str(tmp_path))
    assert not is_prepared(str(tmp_path))


def test_everything_can_be_remote(source, tmp_path):
    """TensorFlow's in-memory file system stands for a bucket."""
    local, remote = str(tmp_path), "ram://bucket/prepared"
    prepare(source, make_split("random"), local)
    manifest = prepare(source, make_split("random"), remote)
    assert read_manifest(local) == read_manifest(remote) == manifest
    assert read_back(local) == read_back(remote)


def test_number_of_shards_is_positive(source, tmp_path):
    with pytest.raises(UserError, match=r"at least 1. Received: 0"):
        prepare(source, make_split("random"), str(tmp_path), num_shards=0)


def test_output_directory_may_not_be_a_file(source, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write to .*file/users"):
        prepare(source, make_split("random"), str(tmp_path / "file"))


def test_memory_that_runs_out_is_a_users_error(source, tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Huge(InMemorySource):
        def read(self, reading):
            yield lambda: np.empty(1 << 50)

    with pytest.raises(UserError, match=r"memory ran out \(.*--memory-limit"):
        prepare(Huge(source.rows), make_split("random"), str(tmp_path))


def test_source_of_bad_rows_is_not_read_to_its_end(source, tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Endless(InMemorySource):
        def read(self, reading):
            yield from super().read(reading)
            reasons = pa.array(["unreadable_rating"] * 7)
            bad = pa.table(dict.fromkeys((*TYPES, "reason"), reasons))
            while True:
                yield lambda: reading.rejects.sift(bad, describe).cast(SCHEMA)

    def describe(row):
        reason = row["reason"]
        return RejectedRow(0, 0, reason, "f.csv", "u,i,x", "bad rating", 9)

    with pytest.raises(
        UserError,
        match=r"f.csv:9: bad rating. Of [\d,]+ rows read so far [\d,]+ cannot"
        r" be used \([\d,]+ unreadable_rating\), more than the 50 %",
    ):
        prepare(
            Endless(source.rows),
            make_split("random"),
            str(tmp_path),
            options=Options(max_bad_rows=0.5),
        )
    assert not is_prepared(str(tmp_path))
    assert (tmp_path / "rejected.csv").read_text() == (
        "file,line,reason,row\n" + 'f.csv,9,unreadable_rating,"u,i,x"\n' * 10
    )


def test_resources_and_parts_do_not_change_the_bytes(source, tmp_path):
    """More buckets, other threads, other parts: the same files."""
    split = make_split("random")
    first, other = str(tmp_path / "first"), str(tmp_path / "other")
    prepare(source, split, first)
    many = dataclasses.replace(
        source, rows_per_part=7, estimated_rows=10_000_000
    )
    prepare(many, split, other, resources=Resources(1 << 30, num_cores=3))
    assert read_files(first) == read_files(other)


@pytest.mark.parametrize("name", ["global-time", "user-time"])
def test_minimum_counts_leave_out_training_ratings_only(name, rows, tmp_path):
    rows += [("rare", f"i{k}", 3.0, 5.0 * k) for k in range(4)]
    rows += [(f"u{k}", "seldom", 3.0, 0.0) for k in range(5)]
    options = Options(min_user_ratings=5, min_item_ratings=6)
    output_dir = str(tmp_path)
    manifest = prepare(
        InMemorySource(rows), make_split(name), output_dir, options=options
    )
    found = read_back(output_dir)[0]
    assert "rare" not in {user for user, _ in found}
    assert "seldom" not in read_items(output_dir).item_ids
    assert manifest.rows_dropped["user_below_minimum"] in (2, 4)
    assert manifest.rows_dropped["item_below_minimum"] == 5
    assert manifest.options == {"min_user_ratings": 5, "min_item_ratings": 6}
    expected, _, _ = expect(rows, name, 0)
    kept = {
        key: value
        for key, value in expected.items()
        if key[0] != "rare" and key[1] != "seldom"
    }
    assert found == kept


def test_later_snapshot_keeps_the_indices_of_the_earlier(rows, tmp_path):
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    split = make_split("user-time")
    prepare(InMemorySource(rows), split, first)
    grown = [row for row in rows if row[1] != "i3"]
    grown += [(f"u{k}", f"new{k % 4}", 5.0, 0.5) for k in range(60)]
    options = Options(vocabulary_from=first)
    prepare(InMemorySource(grown), split, second, options=options)
    old, new = read_items(first), read_items(second)
    assert new.item_ids[: len(old.item_ids)] == old.item_ids
    assert sorted(new.item_ids[len(old.item_ids) :]) == [
        f"new{k}" for k in range(4)
    ]
    assert new.counts[new.item_ids.index("i3")] == 0
    kept, _, _ = expect(grown, "user-time", 0)
    assert read_back(second)[0] == kept


@pytest.fixture
def unreadable(source):
    """A source that fails the test if its ratings are read."""

    @dataclasses.dataclass(frozen=True)
    class Unreadable(InMemorySource):
        def read(self, reading):
            raise AssertionError("the ratings were read")

    return Unreadable(source.rows)


def test_titles_are_opened_before_the_ratings(unreadable, tmp_path):
    (tmp_path / "titles.csv").write_text("shelf,color\n1,red\n")
    options = Options(titles=str(tmp_path / "titles.csv"))
    with pytest.raises(UserError, match="a column of item ids"):
        prepare(
            unreadable, make_split("random"), str(tmp_path), options=options
        )


def test_earlier_vocabulary_is_opened_before_the_ratings(unreadable, tmp_path):
    options = Options(vocabulary_from=str(tmp_path / "typo"))
    with pytest.raises(UserError, match="typo is not prepared data"):
        prepare(
            unreadable, make_split("random"), str(tmp_path), options=options
        )


def test_titles_of_other_items_are_refused(source, tmp_path):
    (tmp_path / "titles.csv").write_text("item_id,title\n900,Z\n901,Heat\n")
    options = Options(titles=str(tmp_path / "titles.csv"))
    with pytest.raises(
        UserError,
        match=r"--items .*titles.csv has none of the 30 items of the ratings."
        r" Its ids are such as '900', '901'; those of the ratings such as 'i",
    ):
        prepare(source, make_split("random"), str(tmp_path), options=options)
    assert not is_prepared(str(tmp_path))


def test_items_with_titles_are_counted(source, tmp_path, caplog):
    caplog.set_level("INFO", logger="absl")
    (tmp_path / "titles.csv").write_text("item_id,title\ni1,Z\nother,Heat\n")
    options = Options(titles=str(tmp_path / "titles.csv"))
    prepare(source, make_split("random"), str(tmp_path), options=options)
    assert "titles.csv has 1 of the 30 items of the ratings." in caplog.text


def test_vocabulary_of_other_items_is_refused(rows, tmp_path):
    split = make_split("random")
    prepare(InMemorySource(rows), split, str(tmp_path / "old"))
    renamed = [(user, f"{item}.0", *rest) for user, item, *rest in rows]
    with pytest.raises(
        UserError, match=r"--vocabulary-from .*old has none of the 30 items"
    ):
        prepare(
            InMemorySource(renamed),
            split,
            str(tmp_path / "new"),
            options=Options(vocabulary_from=str(tmp_path / "old")),
        )


def test_published_counts_stand_beside_the_actual_ones(tmp_path, caplog):
    november, december = 1_131_000_000.0, 1_134_000_000.0
    rows = [
        (f"u{u}", f"i{k}", 1.0, november) for u in range(9) for k in range(9)
    ]
    rows += [(f"u{u}", f"j{u}", 2.0, november) for u in range(9)]
    rows += [(f"u{u}", "j0", 2.0, december) for u in range(1, 9)]
    rows += [("new", "i0", 2.0, december), ("u0", "other", 2.0, december)]
    rows += [("u0", "i0", 5.0, 0.0)]  # Not its latest rating.
    rows += [("old", "i0", 5.0, 900_000_000.0)]
    manifest = prepare(
        InMemorySource(rows), make_split("netflix-full"), str(tmp_path)
    )
    actual = {k: v["actual"] for k, v in manifest.published_counts.items()}
    assert actual == {
        "train_ratings": 90,
        "train_users": 9,
        "train_items": 18,
        "held_out_ratings": 8,
        "held_out_users": 8,
        "held_out_items": 1,
    }
    expected = manifest.published_counts["train_ratings"]["expected"]
    assert expected == 98_074_901
    assert "90 train ratings, published are 98,074,901" in caplog.text
    assert manifest.rows_dropped == {
        "duplicate": 1,
        "outside_the_dates_of_the_split": 1,
        "user_without_training_ratings": 1,
    }
    assert sum(manifest.num_cold_ratings.values()) == 1


def test_disk_need_is_said_before_the_disk_is_used(source, tmp_path):
    huge = dataclasses.replace(source, estimated_rows=10**15)
    with pytest.raises(
        UserError, match=r"GB free, and about .* will be needed"
    ):
        prepare(huge, make_split("random"), str(tmp_path))
    assert not is_prepared(str(tmp_path))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full device")
def test_full_output_device_is_a_users_error(source, tmp_path):
    (tmp_path / "users").mkdir()

    def fill(shard, num_shards):
        return "users/full"

    (tmp_path / "users" / "full").symlink_to("/dev/full")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "shard_name", fill)
        with pytest.raises(UserError, match=r"cannot write to .*No space"):
            prepare(source, make_split("random"), str(tmp_path))
    assert not is_prepared(str(tmp_path))


def test_source_that_fails_in_the_middle_leaves_nothing(source, tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Failing(InMemorySource):
        def read(self, reading):
            yield from super().read(reading)
            raise UserError("gone")

    with pytest.raises(UserError, match="gone"):
        prepare(Failing(source.rows), make_split("random"), str(tmp_path))
    assert not is_prepared(str(tmp_path))
    prepare(source, make_split("random"), str(tmp_path))
    assert len(read_back(str(tmp_path))[0]) == len(source.rows)
