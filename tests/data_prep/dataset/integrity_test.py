import shutil
from pathlib import Path

import pytest

from data_prep.dataset.errors import UserError
from data_prep.dataset.integrity import check_files
from data_prep.dataset.items import read_items
from data_prep.dataset.records import list_shards


@pytest.fixture
def data_dir(synthetic_data, tmp_path):
    return Path(shutil.copytree(synthetic_data, tmp_path / "data"))


def test_data_as_they_were_prepared_are_taken(data_dir):
    check_files(str(data_dir))


def test_a_shard_that_is_cut_short_is_named(data_dir):
    shard = Path(list_shards(str(data_dir))[1])
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(UserError, match=f"{shard} is not the file that was"):
        check_files(str(data_dir))


def test_a_shard_that_is_another_s_copy_is_named(data_dir):
    first, second, _ = list_shards(str(data_dir))
    shutil.copyfile(first, second)
    with pytest.raises(UserError, match=f"{second} is not the file that was"):
        check_files(str(data_dir))


def test_a_missing_file_is_named(data_dir):
    (data_dir / "items.parquet").unlink()
    with pytest.raises(UserError, match=r"items\.parquet is missing"):
        check_files(str(data_dir))


def test_items_that_are_cut_short_are_named(data_dir):
    items = data_dir / "items.parquet"
    items.write_bytes(items.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"items\.parquet is damaged"):
        read_items(str(data_dir))
