import numpy as np
import pyarrow as pa

from data_prep.ratings import (
    combine_statistics,
    compute_statistics,
    drop_values,
    from_table,
)
from tests.data_prep.helpers import to_table


def test_dictionaries_are_taken_as_they_are():
    table = to_table([("u", "i", 1.0, 0.0), ("v", "i", 2.0, None)])
    encoded = table.set_column(
        1, "item_id", table["item_id"].dictionary_encode()
    )
    first, second = from_table(table), from_table(encoded)
    assert first.item_ids == second.item_ids == pa.array(["i"])
    assert first.items.tolist() == second.items.tolist() == [0, 0]
    assert np.isnan(first.timestamps[1])


def to_statistics(values):
    rows = [("u", f"i{k}", value, None) for k, value in enumerate(values)]
    return compute_statistics(from_table(to_table(rows)))


def test_histogram_of_parts_is_that_of_all():
    first, second = [3.0, 1.0, 3.0], [2.0, 3.0]
    parts = combine_statistics([to_statistics(first), to_statistics(second)])
    whole = to_statistics(first + second)
    for histogram in (parts.histogram, whole.histogram):
        assert histogram.values.tolist() == [1, 2, 3]
        assert histogram.counts.tolist() == [1, 1, 3]


def test_histogram_of_measurements_keeps_the_most_frequent():
    values = [*np.arange(5_000) / 7, *[99.5] * 3]
    histogram = to_statistics(values).histogram
    assert len(histogram.values) == 4_096
    assert (np.diff(histogram.values) > 0).all()
    assert histogram.counts[histogram.values == 99.5].tolist() == [3]


def test_dropped_values_take_their_users_and_items_along():
    rows = [("u", "i", 99.0, 0.0), ("v", "j", 1.0, 0.0), ("v", "i", 99.0, 0.0)]
    kept = drop_values(from_table(to_table(rows)), [99.0])
    assert kept.user_ids.to_pylist() == ["v"]
    assert kept.item_ids.to_pylist() == ["j"]
    assert (kept.users.tolist(), kept.items.tolist()) == ([0], [0])


def test_values_are_dropped_as_float32():
    rows = [("u", "i", float(np.float32(0.1)), 0.0), ("u", "j", 0.2, 0.0)]
    assert len(drop_values(from_table(to_table(rows)), [0.1])) == 1
