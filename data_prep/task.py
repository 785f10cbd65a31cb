"""Prepares ratings for training.

python -m data_prep.task --source movielens-1m --split user-time \
    --output-dir DIR
python -m data_prep.task --source files --ratings 'ratings*.csv' \
    --split global-time --output-dir DIR
"""

from absl import flags

from data_prep import command_line

_SOURCE = flags.DEFINE_string(
    "source",
    None,
    "Where the ratings come from: movielens-1m, movielens-100k,"
    " tfds:movielens/1m-ratings and its like, or files.",
    required=True,
)
_RATINGS = flags.DEFINE_string(
    "ratings",
    None,
    "For --source files: path or glob of CSV, TSV, '::' or Parquet files.",
)
_USER_COLUMN = flags.DEFINE_string(
    "user_column", None, "Header of the user ids, if not a usual one."
)
_ITEM_COLUMN = flags.DEFINE_string(
    "item_column", None, "Header of the item ids, if not a usual one."
)
_RATING_COLUMN = flags.DEFINE_string(
    "rating_column", None, "Header of the ratings, if not a usual one."
)
_TIMESTAMP_COLUMN = flags.DEFINE_string(
    "timestamp_column", None, "Header of the timestamps, if not a usual one."
)
_SPLIT = flags.DEFINE_string(
    "split",
    None,
    "How ratings are held out: user-time, global-time or random.",
    required=True,
)
_VALIDATION_FRACTION = flags.DEFINE_float(
    "validation_fraction",
    None,
    "For global-time and random: share of the ratings for validation (0.1).",
)
_TEST_FRACTION = flags.DEFINE_float(
    "test_fraction",
    None,
    "For global-time and random: share of the ratings for the test (0.1).",
)
_VALIDATION_FROM = flags.DEFINE_string(
    "validation_from", None, "For global-time: ISO date of the first one."
)
_TEST_FROM = flags.DEFINE_string(
    "test_from", None, "For global-time: ISO date of the first test rating."
)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Decides where the split leaves it to chance."
)
_NUM_SHARDS = flags.DEFINE_integer(
    "num_shards", 8, "Number of record files.", lower_bound=1
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Directory of the prepared data.", required=True
)


def main() -> None:
    """Prepares the data that the flags name, and prints what it holds."""
    # Imported late: flag mistakes and --help should not wait for TensorFlow.
    from data_prep.encode import prepare
    from data_prep.sources import make_source
    from data_prep.splits import make_split
    from data_prep.tables import Columns

    columns = Columns(
        user=_USER_COLUMN.value,
        item=_ITEM_COLUMN.value,
        rating=_RATING_COLUMN.value,
        timestamp=_TIMESTAMP_COLUMN.value,
    )
    manifest = prepare(
        make_source(_SOURCE.value, ratings=_RATINGS.value, columns=columns),
        make_split(
            _SPLIT.value,
            validation_fraction=_VALIDATION_FRACTION.value,
            test_fraction=_TEST_FRACTION.value,
            validation_from=_VALIDATION_FROM.value,
            test_from=_TEST_FROM.value,
        ),
        _OUTPUT_DIR.value,
        seed=_SEED.value,
        num_shards=_NUM_SHARDS.value,
    )
    counts = {"users": manifest.num_users, "items": manifest.num_items}
    counts |= {f"{k} ratings": n for k, n in manifest.num_ratings.items()}
    counts |= {f"dropped, {k}": n for k, n in manifest.rows_dropped.items()}
    for name, count in counts.items():
        print(f"{count:>13,} {name}")
    print(
        f"Ratings from {manifest.rating_min:g} to {manifest.rating_max:g}, in"
        f" training {manifest.rating_mean:.4f} on average."
    )
    print(f"Prepared data: {_OUTPUT_DIR.value}")


if __name__ == "__main__":
    command_line.run(main)
