import dataclasses
import os

import pytest

from data_prep.dataset.errors import UserError
from data_prep.dataset.manifest import read_manifest, write_manifest
from trainer.compare.folds import default_output_dir, find_data, read_folds


@pytest.fixture
def make_data(tmp_path, synthetic_data):
    """Makes directories that hold a manifest, which is all that is read."""
    manifest = read_manifest(synthetic_data)

    def make(name, **changes):
        data_dir = tmp_path / name
        data_dir.mkdir(parents=True)
        changed = dataclasses.replace(manifest, **{"seed": name, **changes})
        write_manifest(changed, str(data_dir))
        return str(data_dir)

    return make


def test_one_data_set_has_its_records_in_the_output_directory(make_data):
    data_dir = make_data("data")
    (fold,) = read_folds([data_dir], "out")
    assert (fold.data_dir, fold.output_dir) == (data_dir, "out")
    assert fold.manifest == read_manifest(data_dir)
    assert default_output_dir([data_dir]) == os.path.join(data_dir, "compare")


@pytest.mark.parametrize(
    "names", [["u1", "u2"], ["seed-0/data", "seed-1/data"], ["a", "a/b"]]
)
def test_several_are_named_by_where_their_directories_differ(make_data, names):
    folds = read_folds([make_data(name) for name in names], "out")
    assert [fold.name for fold in folds] == names
    assert [fold.output_dir for fold in folds] == [
        os.path.join("out", name) for name in names
    ]


def test_names_stay_when_folds_are_added_or_given_in_another_order(make_data):
    one, two, three = map(make_data, ("u1", "u2", "u3"))
    names = {fold.data_dir: fold.name for fold in read_folds([one, two], "")}
    for fold in read_folds([three, two, one + "/"], ""):
        assert names.get(fold.data_dir, fold.name) == fold.name


def test_several_are_compared_beside_them(tmp_path, make_data):
    folds = [make_data("u1"), make_data("u2") + "/"]
    assert default_output_dir(folds) == str(tmp_path / "compare")
    with pytest.raises(UserError, match=r"Give one by --output-dir"):
        default_output_dir([*folds, make_data("other/u3")])


def test_a_glob_stands_for_the_prepared_data_that_it_matches(
    tmp_path, make_data
):
    two, one = make_data("u2"), make_data("u1")
    (tmp_path / "u3").mkdir()
    assert find_data([str(tmp_path / "u*")]) == [one, two]
    assert find_data([two, one]) == [two, one]
    with pytest.raises(UserError, match=r"None match data_dir=.*/v\*"):
        find_data([str(tmp_path / "v*")])


def test_the_same_data_twice_are_an_error_under_any_name(tmp_path, make_data):
    data_dir = make_data("u1")
    copy = make_data("copy", seed="u1")
    (tmp_path / "link").symlink_to(data_dir)
    for other in (data_dir, data_dir + "/", copy, str(tmp_path / "link")):
        with pytest.raises(UserError, match=r"the same twice: .*u1, "):
            read_folds([data_dir, other], "out")


def test_another_rating_scale_is_an_error_that_names_both(make_data):
    one = make_data("u1", rating_min=1.0, rating_max=5.0)
    other = make_data("u2", rating_min=0.5, rating_max=5.0)
    with pytest.raises(
        UserError, match=r"u1 on 1 to 5, \S*u2 on 0.5 to 5. Compare on each"
    ):
        read_folds([one, other], "out")


def test_what_is_no_prepared_data_is_an_error(tmp_path, make_data):
    with pytest.raises(UserError, match="is not prepared data"):
        read_folds([make_data("u1"), str(tmp_path)], "out")
    with pytest.raises(UserError, match="Received none"):
        read_folds([], "out")
