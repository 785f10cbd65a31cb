"""Flags that say how files of ratings are read, for several commands."""

from typing import TYPE_CHECKING

from absl import flags

if TYPE_CHECKING:
    from data_prep.rules.columns import Columns

_USER_COLUMN = flags.DEFINE_string(
    "user_column",
    None,
    "Header of the user ids, if not a usual one, or position from 1.",
)
_ITEM_COLUMN = flags.DEFINE_string(
    "item_column",
    None,
    "Header of the item ids, if not a usual one, or position from 1.",
)
_RATING_COLUMN = flags.DEFINE_string(
    "rating_column",
    None,
    "Header of the ratings, if not a usual one, or position from 1.",
)
_TIMESTAMP_COLUMN = flags.DEFINE_string(
    "timestamp_column",
    None,
    "Header of the timestamps, if not a usual one, or position from 1.",
)
DELIMITER = flags.DEFINE_string(
    "delimiter",
    None,
    "Separator of the fields of text, where it is not recognized: up to four"
    " characters, '\\t' for a tab, ' ' for any number of blanks.",
)
ENCODING = flags.DEFINE_string(
    "encoding",
    None,
    "Encoding of text that is not UTF-8, such as cp1252 or latin-1.",
)
MAX_BAD_ROWS = flags.DEFINE_float(
    "max_bad_rows",
    0.001,
    "Fraction of invalid rows above which the command stops.",
)
_MISSING_VALUE = flags.DEFINE_list(
    "missing_value",
    [],
    "Ratings that mean 'not rated', such as 99 or -1,0. Their rows are left"
    " out.",
)


def read_columns() -> "Columns":
    """Returns the columns that the flags name."""
    # Imported late, so that flag errors and --help do not wait for TensorFlow.
    from data_prep.rules.columns import Columns

    return Columns(
        user=_USER_COLUMN.value,
        item=_ITEM_COLUMN.value,
        rating=_RATING_COLUMN.value,
        timestamp=_TIMESTAMP_COLUMN.value,
    )


def read_missing_values() -> tuple[float, ...]:
    """Returns the ratings that mean "not rated"."""
    from data_prep.options import parse_missing_values

    return parse_missing_values(_MISSING_VALUE.value)
