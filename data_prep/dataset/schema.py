"""The schema of the records: subsets, features and file names."""

#: Subset -> the features of its item indices (int64) and ratings (float32).
SUBSETS = {
    "train": ("item_index", "rating"),
    "validation": ("validation_item_index", "validation_rating"),
    "test": ("test_item_index", "test_rating"),
}

#: Held-out subset -> the feature of its ratings (float32) of cold items, which
#: have no training ratings and so no index. Users without such ratings lack it.
COLD_RATINGS = {
    "validation": "validation_cold_rating",
    "test": "test_cold_rating",
}

#: The feature of the raw user id (bytes).
USER_ID = "user_id"


def shard_name(shard: int, num_shards: int) -> str:
    """Returns the path of a shard relative to the data directory."""
    return f"users/part-{shard:05d}-of-{num_shards:05d}.tfrecord"
