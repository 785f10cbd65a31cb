"""Compares this project's models with others on prepared data.

    python -m trainer.compare --data-dir DIR[,DIR] [--models all] [--seeds 3]

Started again with the same flags, it goes on where it stopped.
"""

import os
import sys

from absl import flags

from data_prep import command_line
from trainer.compare.comparison import choose_models, compare_models
from trainer.compare.folds import default_output_dir, find_data
from trainer.compare.models import MODELS
from trainer.compare.table import make_tables
from trainer.text_table import format_table

# As in trainer.task, which says why. The processes of the fits inherit it.
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")

_DATA_DIR = flags.DEFINE_list(
    "data_dir",
    None,
    "Data prepared by data_prep.task. Several, such as folds, are separated by"
    " commas or given as a glob; figures are then means over them.",
    required=True,
)
_MODELS = flags.DEFINE_list(
    "models",
    ["all"],
    f"The models, separated by commas: all, or some of {', '.join(MODELS)}.",
)
_SEEDS = flags.DEFINE_integer(
    "seeds", 3, "Fits of each model that depends on a seed."
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir",
    None,
    "Directory of the fits, compare.json and compare.html. Default: `compare`"
    " in the data directory, or beside several.",
)
_REFERENCE = flags.DEFINE_string(
    "reference",
    None,
    "The model that the others are compared with. Default: the best in each"
    " metric.",
)


def main() -> None:
    """Runs the comparison that the flags describe."""
    data_dirs = find_data(_DATA_DIR.value)
    output_dir = _OUTPUT_DIR.value or default_output_dir(data_dirs)
    summary = compare_models(
        data_dirs,
        output_dir,
        choose_models(_MODELS.value),
        _SEEDS.value,
        _REFERENCE.value,
    )
    for table in make_tables(summary):
        sys.stdout.write(f"\n{format_table(table)}\n")
    sys.stdout.write(
        "\nBrackets hold the true difference in 95 of 100 such tests.\nFigures:"
        f" {os.path.join(output_dir, 'compare.json')}\nReport:"
        f" {os.path.join(output_dir, 'compare.html')}\n"
    )


if __name__ == "__main__":
    command_line.run(main)
