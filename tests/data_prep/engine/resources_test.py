import pytest

from data_prep.dataset.errors import UserError
from data_prep.engine.resources import Resources, map_in_order, parse_bytes


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2GB", 2 << 30), ("1.5 GiB", 3 << 29), ("800m", 800 << 20), ("7", 7)],
)
def test_sizes_are_read(text, expected):
    assert parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "much", "2 PB", "1.2.3G", "-1G"])
def test_what_is_no_size_is_named(text):
    with pytest.raises(UserError, match="--memory-limit must be a size"):
        parse_bytes(text)


def test_limit_below_what_is_needed_is_refused():
    with pytest.raises(UserError, match=r"at least 1000 MB. Received: 512 MB"):
        Resources(memory_limit=1 << 29)


def test_results_come_in_order_and_are_not_read_ahead():
    import concurrent.futures

    taken = []

    def items():
        for item in range(20):
            taken.append(item)
            yield item

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        results = map_in_order(pool, lambda k: k * k, items(), ahead=3)
        for k, result in enumerate(results):
            assert result == k * k
            assert len(taken) <= k + 3
