"""Writes recommendations or predictions for all users to files.

python -m export.score --model DIR --data-dir DIR --output DIR
python -m export.score --model DIR --ratings 'ratings/*.csv' --output DIR
python -m export.score --model DIR --data-dir DIR --pairs FILE --output DIR

Started again with the same flags, it goes on after the last complete file.
"""

import contextlib
import functools
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from absl import flags

from data_prep import command_line, file_flags

if TYPE_CHECKING:
    from export.scoring.answerers import Answerer
    from export.scoring.exported_model import ExportedModel
    from export.scoring.output import Output

flags.adopt_module_key_flags(file_flags)

MODEL = command_line.define_path(
    "model",
    None,
    "An exported model: a version, the parent of its versions, of which the"
    " newest is taken, or the directory of a job.",
    required=True,
)
OUTPUT = command_line.define_path(
    "output",
    None,
    "Directory of the files, new or empty.",
    required=True,
)
DATA_DIR = command_line.define_path(
    "data_dir", None, "Prepared data, to whose users the model answers."
)
RATINGS = flags.DEFINE_string(
    "ratings",
    None,
    "In the place of --data-dir, the ratings of the users: path, glob,"
    " comma-separated list or - for standard input, in any format that"
    " data_prep.task reads.",
)
PAIRS = command_line.define_path(
    "pairs",
    None,
    "File of users and items. For each row the rating is predicted, in the"
    " place of recommendations.",
)
FORMAT = flags.DEFINE_enum(
    "format", "parquet", ["parquet", "jsonl", "csv"], "Format of the files."
)
_TOP_K = flags.DEFINE_integer("top_k", 10, "Recommendations per user.")
_CANDIDATES = command_line.define_path(
    "candidates", None, "File of the only items to recommend, by id or title."
)
_EXCLUDE = command_line.define_path(
    "exclude", None, "File of items not to recommend, by id or title."
)

# Names the run that writes there at present. Readers of directories ignore it.
_LEASE_FILE = ".lease.json"
# What ratings are prepared in before users are scored.
_USERS_DIR = ".users"
# As many as prepared data have unless one asks for others.
_NUM_SHARDS = 8


def main() -> None:
    """Scores the users that the flags name."""
    # Imported late, so that flag errors and --help do not wait for TensorFlow.
    import tensorflow as tf

    from data_prep.dataset.errors import UserError
    from export.scoring.exported_model import ExportedModel, find_version
    from export.scoring.scoring import score

    check_flags()
    if (DATA_DIR.value is None) == (RATINGS.value is None):
        raise UserError(
            "give either --data-dir, prepared data, or --ratings, files of the"
            " ratings of users."
        )
    model = ExportedModel(find_version(MODEL.value))
    with (
        hold_output(),
        tempfile.TemporaryDirectory(prefix="score-") as temp_dir,
    ):
        data_dir = DATA_DIR.value or _prepare_users(model)
        pairs = read_pairs(data_dir, temp_dir)
        make_answerer = choose_answerer(pairs, temp_dir)
        output = score(
            make_answerer(model), data_dir, OUTPUT.value, FORMAT.value
        )
        if RATINGS.value:
            tf.io.gfile.rmtree(data_dir)
    print_counts(output)


@contextlib.contextmanager
def hold_output() -> Iterator[None]:
    """Checks `--output`, and keeps other runs out of it during the block.

    Raises:
        UserError: it holds something else, or another run writes there.
    """
    from export.scoring.output import check_directory
    from trainer.job.lease import hold_lease

    check_directory(OUTPUT.value)
    lease = os.path.join(OUTPUT.value, _LEASE_FILE)
    with hold_lease(lease, "writes", "--output"):
        yield


def check_flags() -> None:
    """Checks that the flags do not contradict each other.

    Raises:
        UserError: they do.
    """
    from data_prep.dataset.errors import UserError

    if PAIRS.value and (_CANDIDATES.value or _EXCLUDE.value):
        raise UserError(
            "--pairs names the items: leave --candidates and --exclude out."
        )


def _prepare_users(model: "ExportedModel") -> str:
    """Prepares the ratings in the output, where a killed run finds them."""
    from data_prep.options import Options
    from data_prep.prepare import prepare
    from data_prep.rules.row_rules import Scale
    from data_prep.sources.registry import make_source
    from data_prep.splits.undivided import Undivided

    missing_values = file_flags.read_missing_values()
    data_dir = os.path.join(OUTPUT.value, _USERS_DIR)
    prepare(
        make_source(
            "files",
            ratings=RATINGS.value,
            columns=file_flags.read_columns(),
            delimiter=file_flags.DELIMITER.value,
            encoding=file_flags.ENCODING.value,
        ),
        Undivided(),
        data_dir,
        num_shards=_NUM_SHARDS,
        options=Options(
            rating_scale=Scale(*model.rating_scale),
            missing_values=missing_values,
            max_bad_rows=file_flags.MAX_BAD_ROWS.value,
        ),
    )
    return data_dir


def read_pairs(data_dir: str, directory: str) -> list[str] | None:
    """Reads `--pairs`, if it is given.

    Args:
        data_dir: the prepared data of the users.
        directory: a local directory.

    Returns:
        The Arrow file of each record file's pairs, in the directory.
    """
    from data_prep.dataset.manifest import read_manifest
    from data_prep.pairs import shard_pairs
    from data_prep.readers.id_columns import read_ids

    if not PAIRS.value:
        return None
    tables = read_ids(PAIRS.value, "--pairs", ["user", "item"], directory)
    return shard_pairs(tables, read_manifest(data_dir).num_shards, directory)


def choose_answerer(
    pairs: list[str] | None, temp_dir: str
) -> Callable[["ExportedModel"], "Answerer"]:
    """Chooses what is asked of the model.

    Args:
        pairs: the Arrow file of each record file's pairs; `None` asks for
            recommendations.
        temp_dir: a local directory.

    Returns:
        A function that other processes can call as well.
    """
    from data_prep.readers.id_columns import read_ids
    from export.scoring.answerers import Predictions, Recommendations

    if pairs is not None:
        return functools.partial(Predictions, pairs=pairs)

    def read_items(path: str, flag: str) -> list[str]:
        tables = read_ids(path, flag, ["item"], temp_dir)
        return [
            item_id for table in tables for item_id in table["item"].to_pylist()
        ]

    return functools.partial(
        Recommendations,
        top_k=_TOP_K.value,
        candidates=read_items(_CANDIDATES.value, "--candidates")
        if _CANDIDATES.value
        else None,
        excluded=read_items(_EXCLUDE.value, "--exclude")
        if _EXCLUDE.value
        else (),
    )


def print_counts(output: "Output") -> None:
    """Prints how much was scored, and where it is."""
    print(
        f"{output.count('num_users'):>13,} users\n"
        f"{output.count('num_rows'):>13,} rows\nScores: {output.directory}"
    )


if __name__ == "__main__":
    command_line.run(main)
