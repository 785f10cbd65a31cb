import numpy as np
import pyarrow as pa

from data_prep.ratings import from_table
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
