from data_prep.engine.partition import Buckets, choose_buckets, partition
from data_prep.ratings import from_table
from tests.data_prep.helpers import to_table


def test_partition_gives_each_bucket_its_users():
    rows = [(f"u{k % 7}", f"i{k}", 1.0, 0.0) for k in range(50)]
    buckets = Buckets(4)
    content = partition(from_table(to_table(rows)), buckets)
    found = []
    for bucket in range(4):
        ratings = content.select(bucket)
        users = ratings.user_ids.to_pylist()
        assert set(buckets.locate(ratings.user_ids)) <= {bucket}
        found += [users[user] for user in ratings.users]
    assert sorted(found) == sorted(row[0] for row in rows)


def test_buckets_are_no_larger_than_memory_allows():
    assert choose_buckets(8, 1_000, 1_000).num_buckets == 8
    assert choose_buckets(8, 100_000_000, 2_000_000).num_buckets == 64
    assert choose_buckets(1, 0, 1).num_buckets == 1
