"""Prepares ratings for training: the command.

python -m data_prep.task --source movielens-1m --split user-time \
    --output-dir DIR
python -m data_prep.task --source files --ratings 'ratings*.csv' \
    --split global-time --output-dir DIR
python -m data_prep.task --source files --ratings training_set/ \
    --items movie_titles.txt --split netflix-full --output-dir DIR
python -m data_prep.task --source files --ratings ratings.csv --dry-run
"""

from typing import TYPE_CHECKING

from absl import flags

from data_prep import command_line, file_flags
from data_prep.dataset.schema import SUBSETS

if TYPE_CHECKING:
    from data_prep.dataset.manifest import Manifest
    from data_prep.options import Options
    from data_prep.sources.source import Source
    from data_prep.splits.base import Split

flags.adopt_module_key_flags(file_flags)

_SOURCE = flags.DEFINE_string(
    "source",
    None,
    "Source of the ratings: movielens-1m, movielens-100k,"
    " tfds:movielens/1m-ratings and its like, or files.",
    required=True,
)
_RATINGS = flags.DEFINE_string(
    "ratings",
    None,
    "For --source files: path, glob, comma-separated list, directory of"
    " mv_*.txt, or - for standard input. Text with separators, JSON lines,"
    " Parquet or Netflix Prize text; maybe compressed with gzip, zstd, bzip2 or"
    " xz, or a member of a zip archive, ARCHIVE.zip/MEMBER.",
)
_TEST_RATINGS = flags.DEFINE_string(
    "test_ratings",
    None,
    "For --split fold: the files published as the test set.",
)
_ITEMS = flags.DEFINE_string(
    "items",
    None,
    "File of item titles: of MovieLens, of Netflix, or any table with ids and"
    " titles, in the formats of --ratings.",
)
SPLIT = flags.DEFINE_string(
    "split",
    None,
    "Split that holds ratings out: user-time (also movielens-user-time),"
    " leave-last-out, global-time, random, fold, u1 to u5 (of"
    " movielens-100k), netflix-full, netflix-3m, netflix-6m or netflix-1y.",
)
_VALIDATION_FRACTION = flags.DEFINE_float(
    "validation_fraction",
    None,
    "For global-time and random: fraction of the ratings for validation (0.1);"
    " for fold: fraction of the ratings of the training files (0.05).",
)
_TEST_FRACTION = flags.DEFINE_float(
    "test_fraction",
    None,
    "For global-time and random: fraction of the ratings for the test (0.1).",
)
_VALIDATION_FROM = flags.DEFINE_string(
    "validation_from",
    None,
    "For global-time: ISO date of the first validation rating.",
)
_TEST_FROM = flags.DEFINE_string(
    "test_from", None, "For global-time: ISO date of the first test rating."
)
SEED = flags.DEFINE_integer(
    "seed", 0, "Seed of the random choices of the split."
)
NUM_SHARDS = flags.DEFINE_integer(
    "num_shards", 8, "Number of record files.", lower_bound=1
)
_RATING_SCALE = flags.DEFINE_string(
    "rating_scale", None, "Range of valid ratings, such as 1:5."
)
_MIN_USER_RATINGS = flags.DEFINE_integer(
    "min_user_ratings",
    1,
    "Users with fewer training ratings are left out.",
    lower_bound=1,
)
_MIN_ITEM_RATINGS = flags.DEFINE_integer(
    "min_item_ratings",
    1,
    "Items with fewer training ratings are left out.",
    lower_bound=1,
)
_VOCABULARY_FROM = command_line.define_path(
    "vocabulary_from",
    None,
    "Directory of prepared data whose items keep their indices; new ones"
    " follow.",
)
_MEMORY_LIMIT = flags.DEFINE_string(
    "memory_limit", "2GB", "Memory that the command may use."
)
DRY_RUN = flags.DEFINE_bool(
    "dry_run",
    False,
    "Only print what is recognized, and the counts of each split (or of the"
    " one that --split names).",
)
OUTPUT_DIR = command_line.define_path(
    "output_dir", "", "Directory of the prepared data."
)


def main() -> None:
    """Prepares the data that the flags describe, and prints their counts."""
    # Imported late, so that flag errors and --help do not wait for TensorFlow.
    from data_prep.dry_run import describe
    from data_prep.engine.request import Request, find_prepared
    from data_prep.engine.resources import Resources, parse_bytes
    from data_prep.prepare import prepare

    source, split, options = read_flags()
    resources = Resources(memory_limit=parse_bytes(_MEMORY_LIMIT.value))
    if DRY_RUN.value or split is None:
        if split is not None and OUTPUT_DIR.value:
            request = Request(
                source, split, SEED.value, NUM_SHARDS.value, options
            )
            find_prepared(request, OUTPUT_DIR.value)
        for line in describe(source, split, SEED.value, options, resources):
            print(line)
        return
    manifest = prepare(
        source,
        split,
        OUTPUT_DIR.value,
        seed=SEED.value,
        num_shards=NUM_SHARDS.value,
        options=options,
        resources=resources,
    )
    print_manifest(manifest)


def read_flags() -> "tuple[Source, Split | None, Options]":
    """Returns what the flags describe; the split is optional in a dry run."""
    from data_prep.options import Options
    from data_prep.readers.fetching import find_file
    from data_prep.rules.row_rules import parse_scale
    from data_prep.sources.registry import make_source
    from data_prep.splits.registry import make_split

    scale = _RATING_SCALE.value
    options = Options(
        rating_scale=parse_scale(scale) if scale else None,
        missing_values=file_flags.read_missing_values(),
        max_bad_rows=file_flags.MAX_BAD_ROWS.value,
        min_user_ratings=_MIN_USER_RATINGS.value,
        min_item_ratings=_MIN_ITEM_RATINGS.value,
        titles=find_file(_ITEMS.value, "--items") if _ITEMS.value else None,
        vocabulary_from=_VOCABULARY_FROM.value,
    )
    split = None
    if SPLIT.value is not None:
        split = make_split(
            SPLIT.value,
            validation_fraction=_VALIDATION_FRACTION.value,
            test_fraction=_TEST_FRACTION.value,
            validation_from=_VALIDATION_FROM.value,
            test_from=_TEST_FROM.value,
        )
    source = make_source(
        _SOURCE.value,
        ratings=_RATINGS.value,
        test_ratings=_TEST_RATINGS.value,
        columns=file_flags.read_columns(),
        delimiter=file_flags.DELIMITER.value,
        encoding=file_flags.ENCODING.value,
        fold=split.source_fold if split else None,
    )
    return source, split, options


def print_manifest(manifest: "Manifest") -> None:
    """Prints the counts and the directory of prepared data."""
    counts = {"users": manifest.num_users, "items": manifest.num_items}
    counts |= {f"{k} ratings": manifest.num_ratings[k] for k in SUBSETS}
    counts |= {
        f"{subset} ratings of items without training ratings": count
        for subset, count in manifest.num_cold_ratings.items()
        if count
    }
    counts |= {f"dropped, {k}": n for k, n in manifest.rows_dropped.items()}
    counts |= {f"rejected, {k}": n for k, n in manifest.rows_rejected.items()}
    for name, count in counts.items():
        print(f"{count:>13,} {name}")
    for name, pair in manifest.published_counts.items():
        print(
            f"{pair['actual']:>13,} {name.replace('_', ' ')}, published"
            f" {pair['expected']:,}"
        )
    print(
        f"Ratings from {manifest.rating_min:g} to {manifest.rating_max:g}, in"
        f" training {manifest.rating_mean:.4f} on average."
    )
    print(f"Prepared data: {OUTPUT_DIR.value}")


@flags.multi_flags_validator(  # type: ignore[no-untyped-call]
    ["dry_run", "split", "output_dir"],
    message="--split and --output_dir must have a value, except with --dry_run",
)
def _is_complete(values: dict[str, object]) -> bool:
    is_complete = values["split"] is not None and values["output_dir"]
    return bool(values["dry_run"] or is_complete)


if __name__ == "__main__":
    command_line.run(main)
