import pytest

from data_prep.dataset.errors import UserError
from data_prep.rules.row_rules import parse_scale


@pytest.mark.parametrize(
    "text", ["5", "5:1", "1:1", "a:b", "nan:1", "-inf:5", "1:1e400"]
)
def test_what_is_no_scale_is_named(text):
    with pytest.raises(UserError, match="--rating-scale must be two numbers"):
        parse_scale(text)
