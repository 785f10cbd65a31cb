import hashlib

import hypothesis
from hypothesis import strategies as st

from data_prep.engine.partition import Buckets, partition
from data_prep.engine.spill import SpilledRatings, spill
from data_prep.ratings import from_table, merge, sort_unique
from tests.data_prep.helpers import to_table

IDS = st.text("ab1é😀", min_size=1, max_size=3)
ROWS = st.lists(
    st.tuples(IDS, IDS, st.just(1.0), st.integers(0, 9).map(float)),
    min_size=1,
    max_size=40,
)


@hypothesis.given(
    parts=st.lists(ROWS, min_size=1, max_size=3),
    num_shards=st.sampled_from([1, 3, 8]),
    buckets_per_shard=st.sampled_from([1, 2, 16]),
)
@hypothesis.settings(max_examples=40)
def test_every_row_comes_back_in_the_bucket_of_its_user(
    parts, num_shards, buckets_per_shard, tmp_path_factory
):
    buckets = Buckets(num_shards, buckets_per_shard)
    spilled = [
        spill(
            partition(from_table(to_table(part)), buckets),
            str(tmp_path_factory.mktemp("spill")),
        )
        for part in parts
    ]
    items = sort_unique([part.item_ids for part in spilled])
    together = SpilledRatings.join(spilled, items)
    found, order = [], []
    for bucket in range(buckets.num_buckets):
        ratings = merge(together.read(bucket))
        users = ratings.user_ids.to_pylist()
        item_ids = ratings.item_ids.to_pylist()
        order += [(bucket // buckets_per_shard, user) for user in users]
        found += [
            (users[user], item_ids[item], rating, timestamp)
            for user, item, rating, timestamp in zip(
                ratings.users,
                ratings.items,
                ratings.values.tolist(),
                ratings.timestamps.tolist(),
                strict=True,
            )
        ]
    assert sorted(found) == sorted(row for part in parts for row in part)

    def place(user):
        digest = hashlib.md5(user.encode()).hexdigest()
        return int(digest[:8], 16) % num_shards, digest

    users = {row[0] for part in parts for row in part}
    assert [user for _, user in order] == sorted(users, key=place)
    assert [shard for shard, _ in order] == sorted(s for s, _ in order)
