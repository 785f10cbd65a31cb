r"""Scores all users of prepared data on an Apache Beam runner.

python -m export.score_on_beam --model gs://BUCKET/models \
    --data-dir gs://BUCKET/prepared --output gs://BUCKET/scores \
    --runner DataflowRunner --project PROJECT --region REGION \
    --temp_location gs://BUCKET/tmp --setup_file ./setup.py

The flags are those of `export.score`, without `--ratings`, and those of the
runner. The same flags write the same files. A record file is the unit of work;
each worker loads the model once. All workers must reach the model, the data
and the output.
"""

import os
import tempfile

import tensorflow as tf

from data_prep import command_line
from data_prep.dataset.errors import UserError
from export import score
from export.scoring.exported_model import find_version

# Readers of the output ignore names that begin with a point.
_PAIRS_DIR = ".pairs"


def main(runner_arguments: list[str]) -> None:
    """Scores the users that the flags name."""
    with command_line.needs("apache_beam", extra="beam"):
        from data_prep.beam_options import read_options
        from export.scoring.beam_scoring import score_on_beam

    options = read_options(runner_arguments)
    score.check_flags()
    data_dir, output_dir = score.DATA_DIR.value, score.OUTPUT.value
    if data_dir is None or score.RATINGS.value:
        raise UserError(
            "give --data-dir, prepared data. Prepare --ratings with `python -m"
            " data_prep.beam_pipeline` first."
        )
    pairs_dir = os.path.join(output_dir, _PAIRS_DIR)
    with (
        score.hold_output(),
        tempfile.TemporaryDirectory(prefix="score-") as temp_dir,
    ):
        pairs = score.read_pairs(data_dir, temp_dir)
        if pairs is not None:
            pairs = _copy(pairs, pairs_dir)
        output = score_on_beam(
            find_version(score.MODEL.value),
            score.choose_answerer(pairs, temp_dir),
            data_dir,
            output_dir,
            score.FORMAT.value,
            options,
        )
        if pairs is not None:
            tf.io.gfile.rmtree(pairs_dir)
    score.print_counts(output)


def _copy(paths: list[str], directory: str) -> list[str]:
    """Copies local files to where all workers find them."""
    tf.io.gfile.makedirs(directory)
    copies = [os.path.join(directory, os.path.basename(path)) for path in paths]
    for path, copy in zip(paths, copies, strict=True):
        tf.io.gfile.copy(path, copy, overwrite=True)
    return copies


if __name__ == "__main__":
    remaining: list[str] = []
    command_line.run(lambda: main(remaining), rest=remaining)
