"""What a dry run says."""

import pytest

from data_prep.dataset.errors import UserError
from data_prep.dry_run import describe
from data_prep.engine.resources import Resources
from data_prep.options import Options
from data_prep.prepare import prepare
from data_prep.rules.row_rules import Scale
from data_prep.sources.registry import make_source
from data_prep.splits.registry import make_split
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
    rows = [
        (f"i{k % 7}", f"u{k % 400}", float(k % 5), 1e9) for k in range(2_800)
    ]
    (warning,) = [line for line in dry_run(rows) if "Warning" in line]
    assert "400 items of 7.0 ratings on average, and only 7 users" in warning


def refuse(source, split, options, output_dir, reason):
    """Checks that a dry run and a real one are refused for the same reason."""
    with pytest.raises(UserError, match=reason) as dry:
        list(describe(source, split, 0, options, Resources()))
    with pytest.raises(UserError, match=reason) as real:
        prepare(source, split, output_dir, options=options)
    # A real run does not read on when too many rows are bad already.
    expected = str(real.value).replace(" read so far", "")
    assert str(dry.value).replace("are above.", "are in rejected.csv.") == (
        expected
    )


@pytest.mark.parametrize(
    ("lines", "split", "options", "reason"),
    [
        pytest.param(
            [f"u{k},i{k % 5},3,{k % 12 + 1:02d}/13/2001" for k in range(60)],
            "user-time",
            Options(),
            r"the timestamp .* must be Unix seconds.*Received: '01/13/2001'. Of"
            r" 60 rows.* 60 cannot be used \(60 unreadable_timestamp\)",
            id="all_rows_bad",
        ),
        pytest.param(
            [f"u{k},i{k % 5},{99 if k % 3 else 3},1" for k in range(60)],
            "random",
            Options(rating_scale=Scale(1, 5)),
            r"must be on the scale 1:5. Received: '99'. Of 60 rows",
            id="half_of_the_rows_off_scale",
        ),
        pytest.param(
            [f"u{k},i{k % 5},99,0" for k in range(40)],
            "random",
            Options(missing_values=(99.0,)),
            "all 40 ratings are values that --missing-value names",
            id="all_missing",
        ),
        pytest.param(
            [f"u{k % 5},i{k},3,{k}" for k in range(40)],
            "leave-last-out",
            Options(),
            r"leaves no validation ratings .* The 5 that it held out are all"
            r" of items without training ratings. Ratings: 30"
            r" train, 0 validation, 0 test; dropped: none.*add ratings of the"
            r" same items",
            id="held_out_items_are_all_cold",
        ),
        pytest.param(
            [f"u{k % 5},i{k % 7},3,{k}" for k in range(35)],
            "leave-last-out",
            Options(min_user_ratings=50),
            r"leaves no train ratings .* Change --min-user-ratings or --split",
            id="users_below_the_minimum",
        ),
    ],
)
def test_dry_run_refuses_what_the_real_run_refuses(
    lines, split, options, reason, tmp_path
):
    file = tmp_path / "ratings.csv"
    file.write_text("\n".join(["user,item,rating,timestamp", *lines]))
    source = make_source("files", ratings=str(file))
    refuse(source, make_split(split), options, str(tmp_path), reason)


def test_split_that_goes_by_time_needs_times(rows, tmp_path):
    source = InMemorySource([(*row[:3], None) for row in rows])
    reason = "split user-time goes by time, and 1,200 of 1,200 ratings"
    refuse(source, make_split("user-time"), Options(), str(tmp_path), reason)


def test_fold_needs_test_ratings(source, tmp_path):
    reason = "split fold needs --test-ratings, the files published"
    refuse(source, make_split("fold"), Options(), str(tmp_path), reason)


def test_other_splits_do_not_use_test_ratings(tmp_path):
    file = tmp_path / "ratings.csv"
    file.write_text("user,item,rating\nu,i,1\n")
    source = make_source("files", ratings=str(file), test_ratings=str(file))
    reason = "split random does not use --test-ratings: --split fold does"
    refuse(source, make_split("random"), Options(), str(tmp_path), reason)


def test_test_ratings_of_other_items_are_named(rows, tmp_path):
    for name, suffix in (("base.csv", ""), ("test.csv", ".x")):
        lines = [f"{user},{item}{suffix},{r}" for user, item, r, _ in rows]
        (tmp_path / name).write_text("\n".join(["user,item,rating", *lines]))
    source = make_source(
        "files",
        ratings=str(tmp_path / "base.csv"),
        test_ratings=str(tmp_path / "test.csv"),
    )
    reason = (
        r"no test ratings of known users and items\."
        r" The 1,200 that it held out .*without training.*--test-ratings"
        r" \(their users and items must be those of --ratings\)"
    )
    refuse(source, make_split("fold"), Options(), str(tmp_path), reason)


def test_reason_for_unusable_rows_is_shown_where_no_row_is_usable(tmp_path):
    file = tmp_path / "ratings.csv"
    file.write_text("user,item,rating\nu,i,bad\n")
    source = make_source("files", ratings=str(file))
    lines = []
    with pytest.raises(UserError, match="the first are above"):
        lines.extend(describe(source, None, 0, Options(), Resources()))
    assert "Unusable, unreadable_rating: 1" in lines


def test_chosen_split_is_counted_to_the_end(rows, tmp_path):
    rows += [("u1", f"cold{k}", 3.0, 1e9) for k in range(3)]
    manifest = prepare(
        InMemorySource(rows), make_split("user-time"), str(tmp_path)
    )
    assert sum(manifest.num_cold_ratings.values()) == 3
    counts = "; ".join(
        f"{count:,} {name}"
        for name, count in [
            *manifest.num_ratings.items(),
            *(
                (f"{subset}, item_without_training_ratings", count)
                for subset, count in manifest.num_cold_ratings.items()
                if count
            ),
            *(
                (f"dropped, {reason}", count)
                for reason, count in manifest.rows_dropped.items()
                if count
            ),
        ]
    )
    assert (
        dry_run(rows, make_split("user-time"))[-1] == f"  user-time: {counts}"
    )


@pytest.mark.parametrize("time", [-62_167_219_200.0, -1e11 + 1])
def test_times_outside_of_the_calendar_are_shown_as_seconds(time):
    """As the date 0000-00-00 of MySQL, which is in the year 0."""
    lines = dry_run([("u", "i", 3.0, 1e9), ("v", "i", 4.0, time)])
    (line,) = [line for line in lines if line.startswith("Time: ")]
    assert f"{time:.0f} seconds since 1970" in line
    assert "2001-09-09 01:46" in line
