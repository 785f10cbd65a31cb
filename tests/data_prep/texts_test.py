"""Columns of texts, and their digests."""

import hashlib
import itertools

import hypothesis
import pyarrow as pa
from hypothesis import strategies as st

from data_prep.hashing import digest_texts, view_texts

TEXTS = st.lists(st.text(max_size=70), max_size=30)


@hypothesis.given(texts=TEXTS, prefix=st.text("ab:1", max_size=9))
@hypothesis.example(texts=["x" * size for size in range(70)], prefix="")
@hypothesis.settings(deadline=None)
def test_digests_are_those_of_hashlib(texts, prefix):
    found = digest_texts(pa.array(texts, pa.string()), prefix)
    expected = [hashlib.md5((prefix + t).encode()).digest() for t in texts]
    assert [row.astype(">u8").tobytes() for row in found] == expected


def test_many_texts_are_digested_in_turns():
    texts = pa.array(map(str, range(20_000)))
    found = digest_texts(texts)
    assert found[19_999].astype(">u8").tobytes() == (
        hashlib.md5(b"19999").digest()
    )


@hypothesis.given(texts=TEXTS, start=st.integers(0, 30))
def test_slices_are_digested_and_viewed_as_they_are(texts, start):
    column = pa.array(texts, pa.string()).slice(start)
    copy = pa.array(texts[start:], pa.string())
    assert (digest_texts(column) == digest_texts(copy)).all()
    edges, data = view_texts(column)
    assert [
        data[first:last].tobytes().decode()
        for first, last in itertools.pairwise(edges)
    ] == texts[start:]
