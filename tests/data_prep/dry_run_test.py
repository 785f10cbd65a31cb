"""What a dry run says."""

import pytest

from data_prep.dry_run import describe
from data_prep.engine.resources import Resources
from data_prep.options import Options
from tests.data_prep.helpers import InMemorySource


def dry_run(rows, split=None, **options):
    """Returns the lines that describe rows of (user, item, rating, time)."""
    source = InMemorySource(rows)
    return list(describe(source, split, 0, Options(**options), Resources()))


def test_ratings_are_shown_as_a_histogram(rows):
    lines = dry_run(rows)
    start = lines.index("Scale: 0 to 5") + 1
    assert lines[start : start + 6] == [
        f"  {rating}  16.7%           200 #######" for rating in range(6)
    ]


def test_many_distinct_ratings_are_shown_in_ranges():
    rows = [(f"u{k}", "i", float(k + 1), None) for k in range(1_000)]
    lines = dry_run(rows)
    start = lines.index("Scale: 1 to 1000") + 1
    assert lines[start] == "      1 to 100.9  10.0%           100 ####"
    assert lines[start + 9] == "   900.1 to 1000  10.0%           100 ####"


def test_users_and_items_are_counted(rows):
    lines = dry_run(rows)
    assert {"Users: 60", "Items: 30"} <= set(lines)


@pytest.mark.parametrize(
    ("options", "is_suspected"),
    [({}, True), ({"missing_values": (0.0,)}, False)],
)
def test_values_are_suspected_until_they_are_named_missing(
    options, is_suspected
):
    """As in Book-Crossing, whose zeros are purchases without a rating."""
    rows = [(f"u{k}", "i", 0.0, 1e9) for k in range(600)]
    rows += [(f"v{k}", "j", float(k % 10 + 1), 1e9) for k in range(400)]
    lines = dry_run(rows, **options)
    warnings = [line for line in lines if line.startswith("Warning: ")]
    assert bool(warnings) is is_suspected
    expected = {"Ratings: 1,000", "Items: 2", "Users: 1,000"}
    if not is_suspected:
        expected = {
            *("Ratings: 400", "Items: 1", "Users: 400"),
            "Not rated (--missing-value): 600",
        }
    assert expected <= set(lines)


def test_swapped_columns_are_suspected():
    rows = [(f"i{k % 7}", f"u{k % 400}", 3.0, 1e9) for k in range(2_800)]
    (warning,) = [line for line in dry_run(rows) if "Warning" in line]
    assert "400 items of 7.0 ratings on average, and only 7 users" in warning
