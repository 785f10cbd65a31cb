"""Writes recommendations or predictions for all users to files.

python -m export.score --model DIR --data-dir DIR --output DIR
python -m export.score --model DIR --ratings 'ratings/*.csv' --output DIR
python -m export.score --model DIR --data-dir DIR --pairs FILE --output DIR

Started again with the same flags, it goes on after the last complete file.
"""

import os
import tempfile
from typing import TYPE_CHECKING

from absl import flags

from data_prep import command_line, file_flags

if TYPE_CHECKING:
    from export.scoring.answerers import Answerer
    from export.scoring.exported_model import ExportedModel

flags.adopt_module_key_flags(file_flags)

_MODEL = command_line.define_path(
    "model",
    None,
    "An exported model: a version, the parent of its versions, of which the"
    " newest is taken, or the directory of a job.",
    required=True,
)
_OUTPUT = command_line.define_path(
    "output",
    None,
    "Directory of the files, new or empty.",
    required=True,
)
_DATA_DIR = command_line.define_path(
    "data_dir", None, "Prepared data, to whose users the model answers."
)
_RATINGS = flags.DEFINE_string(
    "ratings",
    None,
    "In the place of --data-dir, the ratings of the users: path, glob,"
    " comma-separated list or - for standard input, in any format that"
    " data_prep.task reads.",
)
_PAIRS = command_line.define_path(
    "pairs",
    None,
    "File of users and items. For each row the rating is predicted, in the"
    " place of recommendations.",
)
_FORMAT = flags.DEFINE_enum(
    "format", "parquet", ["parquet", "jsonl", "csv"], "Format of the files."
)
_TOP_K = flags.DEFINE_integer("top_k", 10, "Recommendations per user.")
_CANDIDATES = command_line.define_path(
    "candidates", None, "File of the only items to recommend, by id or title."
)
_EXCLUDE = command_line.define_path(
    "exclude", None, "File of items not to recommend, by id or title."
)

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

    if (_DATA_DIR.value is None) == (_RATINGS.value is None):
        raise UserError(
            "give either --data-dir, prepared data, or --ratings, files of the"
            " ratings of users."
        )
    if _PAIRS.value and (_CANDIDATES.value or _EXCLUDE.value):
        raise UserError(
            "--pairs names the items: leave --candidates and --exclude out."
        )
    model = ExportedModel(find_version(_MODEL.value))
    with tempfile.TemporaryDirectory(prefix="score-") as temp_dir:
        data_dir = _DATA_DIR.value or _prepare_users(model)
        answerer = _make_answerer(model, data_dir, temp_dir)
        output = score(answerer, data_dir, _OUTPUT.value, _FORMAT.value)
        if _RATINGS.value:
            tf.io.gfile.rmtree(data_dir)
    shards = output.shards.values()
    num_users = sum(shard["num_users"] for shard in shards)
    num_rows = sum(shard["num_rows"] for shard in shards)
    print(
        f"{num_users:>13,} users\n{num_rows:>13,} rows\nScores:"
        f" {output.directory}"
    )


def _prepare_users(model: "ExportedModel") -> str:
    """Prepares the ratings in the output, where a killed run finds them."""
    from data_prep.options import Options
    from data_prep.prepare import prepare
    from data_prep.rules.row_rules import Scale
    from data_prep.sources.registry import make_source
    from data_prep.splits.undivided import Undivided
    from export.scoring.output import check_directory

    check_directory(_OUTPUT.value)
    missing_values = file_flags.read_missing_values()
    data_dir = os.path.join(_OUTPUT.value, _USERS_DIR)
    prepare(
        make_source(
            "files",
            ratings=_RATINGS.value,
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


def _make_answerer(
    model: "ExportedModel", data_dir: str, temp_dir: str
) -> "Answerer":
    from data_prep.dataset.manifest import read_manifest
    from data_prep.pairs import shard_pairs
    from data_prep.readers.id_columns import read_ids
    from export.scoring.answerers import Predictions, Recommendations

    if _PAIRS.value:
        tables = read_ids(_PAIRS.value, "--pairs", ["user", "item"], temp_dir)
        num_shards = read_manifest(data_dir).num_shards
        return Predictions(model, shard_pairs(tables, num_shards, temp_dir))

    def read_items(path: str, flag: str) -> list[str]:
        tables = read_ids(path, flag, ["item"], temp_dir)
        return [
            item_id for table in tables for item_id in table["item"].to_pylist()
        ]

    return Recommendations(
        model,
        _TOP_K.value,
        read_items(_CANDIDATES.value, "--candidates")
        if _CANDIDATES.value
        else None,
        read_items(_EXCLUDE.value, "--exclude") if _EXCLUDE.value else (),
    )


if __name__ == "__main__":
    command_line.run(main)
