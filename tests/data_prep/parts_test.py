"""The pieces between a source and its records."""

import hashlib

import hypothesis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import strategies as st

from data_prep.dataset.errors import UserError
from data_prep.engine.buckets import Buckets, choose_buckets
from data_prep.engine.resources import Resources, map_in_order, parse_bytes
from data_prep.engine.spill import Blocks, partition, write_block
from data_prep.options import Options
from data_prep.ratings import from_table, merge, sort_distinct
from data_prep.sources.validation import parse_scale
from data_prep.splits.quantiles import (
    NUM_ROUNDS,
    Wanted,
    count_digits,
    narrow,
    to_number,
)
from tests.data_prep.helpers import to_table

IDS = st.text("ab1é😀", min_size=1, max_size=3)
ROWS = st.lists(
    st.tuples(IDS, IDS, st.just(1.0), st.integers(0, 9).map(float)),
    min_size=1,
    max_size=40,
)


@hypothesis.given(
    pieces=st.lists(ROWS, min_size=1, max_size=3),
    num_shards=st.sampled_from([1, 3, 8]),
    buckets_per_shard=st.sampled_from([1, 2, 16]),
)
@hypothesis.settings(max_examples=40, deadline=None)
def test_every_row_comes_back_in_the_bucket_of_its_user(
    pieces, num_shards, buckets_per_shard, tmp_path_factory
):
    buckets = Buckets(num_shards, buckets_per_shard)
    blocks = [
        write_block(
            partition(from_table(to_table(piece)), buckets),
            str(tmp_path_factory.mktemp("block")),
        )
        for piece in pieces
    ]
    items = sort_distinct([block.item_ids for block in blocks])
    found, order = [], []
    for bucket in range(buckets.num_buckets):
        rows = merge(Blocks.of(blocks, items).read(bucket))
        users = rows.user_ids.to_pylist()
        item_ids = rows.item_ids.to_pylist()
        order += [(bucket // buckets_per_shard, user) for user in users]
        found += [
            (users[user], item_ids[item], rating, timestamp)
            for user, item, rating, timestamp in zip(
                rows.users,
                rows.items,
                rows.ratings.tolist(),
                rows.timestamps.tolist(),
                strict=True,
            )
        ]
    assert sorted(found) == sorted(row for piece in pieces for row in piece)

    def place(user):
        digest = hashlib.md5(user.encode()).hexdigest()
        return int(digest[:8], 16) % num_shards, digest

    users = {row[0] for piece in pieces for row in piece}
    assert [user for _, user in order] == sorted(users, key=place)
    assert [shard for shard, _ in order] == sorted(s for s, _ in order)


def test_partition_can_be_cut_in_memory():
    rows = [(f"u{k % 7}", f"i{k}", 1.0, 0.0) for k in range(50)]
    buckets = Buckets(4)
    content = partition(from_table(to_table(rows)), buckets)
    found = []
    for bucket in range(4):
        piece = content.cut(bucket)
        users = piece.user_ids.to_pylist()
        assert set(buckets.place(piece.user_ids)) <= {bucket}
        found += [users[user] for user in piece.users]
    assert sorted(found) == sorted(row[0] for row in rows)


def test_buckets_are_no_larger_than_memory_allows():
    assert choose_buckets(8, 1_000, 1_000).num_buckets == 8
    assert choose_buckets(8, 100_000_000, 2_000_000).num_buckets == 64
    assert choose_buckets(1, 0, 1).num_buckets == 1


@hypothesis.given(
    parts=st.lists(st.lists(st.floats(-1e12, 1e12)), min_size=1, max_size=4),
    shares=st.lists(st.fractions(0, 1), min_size=1, max_size=3),
)
@hypothesis.settings(max_examples=50, deadline=None)
def test_number_of_a_rank_is_found_wherever_the_numbers_lie(parts, shares):
    together = sorted(value for part in parts for value in part)
    wanted = [Wanted(share) for share in shares]
    for _ in range(NUM_ROUNDS):
        counts = [count_digits(np.array(part), wanted) for part in parts]
        wanted = narrow(wanted, sum(counts))
    assert [to_number(number) for number in wanted] == [
        [*together, np.inf][int(len(together) * share)] for share in shares
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2GB", 2 << 30), ("1.5 GiB", 3 << 29), ("800m", 800 << 20), ("7", 7)],
)
def test_sizes_are_read(text, expected):
    assert parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "much", "2 PB", "1.2.3G", "-1G"])
def test_what_is_no_size_is_named(text):
    with pytest.raises(UserError, match="--memory-limit must be a size"):
        parse_bytes(text)


def test_limit_below_what_is_needed_is_refused():
    with pytest.raises(UserError, match=r"at least 1000 MB. Received: 512 MB"):
        Resources(memory_limit=1 << 29)


@pytest.mark.parametrize("text", ["5", "5:1", "1:1", "a:b", "nan:1"])
def test_what_is_no_scale_is_named(text):
    with pytest.raises(UserError, match="--rating-scale must be two numbers"):
        parse_scale(text)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_fraction_of_bad_rows_is_checked(fraction):
    with pytest.raises(UserError, match="--max-bad-rows must be a fraction"):
        Options(max_bad_rows=fraction)


def test_results_come_in_order_and_are_not_read_ahead():
    import concurrent.futures

    taken = []

    def items():
        for item in range(20):
            taken.append(item)
            yield item

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        results = map_in_order(pool, lambda k: k * k, items(), ahead=3)
        for k, result in enumerate(results):
            assert result == k * k
            assert len(taken) <= k + 3


def test_dictionaries_are_taken_as_they_are():
    table = to_table([("u", "i", 1.0, 0.0), ("v", "i", 2.0, None)])
    encoded = table.set_column(
        1, "item_id", table["item_id"].dictionary_encode()
    )
    first, second = from_table(table), from_table(encoded)
    assert first.item_ids == second.item_ids == pa.array(["i"])
    assert first.items.tolist() == second.items.tolist() == [0, 0]
    assert np.isnan(first.timestamps[1])
