import hashlib

import hypothesis
import pyarrow as pa
from hypothesis import strategies as st

from data_prep.hashing import hash_strings

STRINGS = st.lists(st.text(max_size=70), max_size=30)


@hypothesis.given(strings=STRINGS, prefix=st.text("ab:1", max_size=9))
@hypothesis.example(strings=["x" * size for size in range(70)], prefix="")
def test_digests_are_those_of_hashlib(strings, prefix):
    found = hash_strings(pa.array(strings, pa.string()), prefix)
    expected = [hashlib.md5((prefix + t).encode()).digest() for t in strings]
    assert [row.astype(">u8").tobytes() for row in found] == expected


def test_long_columns_are_hashed_in_batches():
    strings = pa.array(map(str, range(20_000)))
    found = hash_strings(strings)
    assert found[19_999].astype(">u8").tobytes() == (
        hashlib.md5(b"19999").digest()
    )


@hypothesis.given(strings=STRINGS, start=st.integers(0, 30))
def test_slices_are_hashed_like_copies(strings, start):
    column = pa.array(strings, pa.string()).slice(start)
    copy = pa.array(strings[start:], pa.string())
    assert (hash_strings(column) == hash_strings(copy)).all()
