import hypothesis
import numpy as np
from hypothesis import strategies as st

from data_prep.splits.quantiles import (
    NUM_ROUNDS,
    QuantileSearch,
    count_digits,
    narrow,
)


@hypothesis.given(
    parts=st.lists(st.lists(st.floats(-1e12, 1e12)), min_size=1, max_size=4),
    shares=st.lists(st.fractions(0, 1), min_size=1, max_size=3),
)
@hypothesis.settings(max_examples=50)
def test_number_of_a_rank_is_found_wherever_the_numbers_lie(parts, shares):
    together = sorted(value for part in parts for value in part)
    searches = [QuantileSearch(share) for share in shares]
    for _ in range(NUM_ROUNDS):
        counts = [count_digits(np.array(part), searches) for part in parts]
        searches = narrow(searches, sum(counts))
    assert [search.value for search in searches] == [
        [*together, np.inf][int(len(together) * share)] for share in shares
    ]
