import os

import pytest

from data_prep.dataset.errors import UserError
from data_prep.rules.columns import Columns
from data_prep.sources.registry import make_source


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            {"name": "movielens"},
            r"unknown source 'movielens'. The sources are: movielens-1m,"
            r" movielens-100k, tfds:movielens/1m-ratings and its like, files",
            id="unknown_name",
        ),
        pytest.param({"name": "files"}, "needs --ratings", id="no_ratings"),
        pytest.param(
            {"name": "files", "ratings": os.path.dirname(__file__)},
            r"sources is a directory without mv_\*.txt files. Name its files",
            id="directory",
        ),
        pytest.param(
            {"name": "files", "ratings": "/nowhere/*.csv"},
            r"no file matches --ratings /nowhere/\*.csv",
            id="no_match",
        ),
        pytest.param(
            {"name": "movielens-1m", "ratings": "a.csv"},
            "belong to --source files, not to --source movielens-1m",
            id="ratings_of_a_named_set",
        ),
        pytest.param(
            {"name": "movielens-1m", "columns": Columns(user="u")},
            "flags of columns, .* belong to --source files",
            id="columns_of_a_named_set",
        ),
    ],
)
def test_unusable_arguments_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        make_source(**arguments)
