r"""Prepares ratings on an Apache Beam runner.

python -m data_prep.beam_pipeline --source files \
    --ratings 'gs://BUCKET/ratings/*.csv.gz' --split global-time \
    --output-dir gs://BUCKET/prepared --num-shards 1024 \
    --runner DataflowRunner --project PROJECT --region REGION \
    --temp_location gs://BUCKET/tmp --setup_file ./setup.py

The flags are those of `data_prep.task` and those of the runner. The same flags
give the same files as on one machine.
"""

from data_prep import command_line, task
from data_prep.dataset.errors import UserError
from data_prep.engine.request import Request


def main(runner_arguments: list[str]) -> None:
    """Prepares the data that the flags describe, and prints their counts."""
    with command_line.needs("apache_beam", extra="beam"):
        from data_prep.beam_options import read_options
        from data_prep.engine.beam_stages import prepare

    source, split, options = task.read_flags()
    if split is None or task.DRY_RUN.value:
        raise UserError("--dry-run is for python -m data_prep.task.")
    request = Request(
        source, split, task.SEED.value, task.NUM_SHARDS.value, options
    )
    manifest = prepare(
        request, task.OUTPUT_DIR.value, read_options(runner_arguments)
    )
    task.print_manifest(manifest)


if __name__ == "__main__":
    remaining: list[str] = []
    command_line.run(lambda: main(remaining), rest=remaining)
