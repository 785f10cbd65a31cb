"""Sources are read in parts, which threads may work on side by side."""

from collections.abc import Callable

import pyarrow as pa

#: Returns some ratings: `user_id`, `item_id` (text, whole numbers or
#: dictionaries), `rating` and `timestamp` (float64, null where unknown). Each
#: is called once, in order, by any thread.
Part = Callable[[], pa.Table]
