import pytest

from data_prep.dataset.errors import UserError
from data_prep.options import Options


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_fraction_of_bad_rows_is_checked(fraction):
    with pytest.raises(UserError, match="--max-bad-rows must be a fraction"):
        Options(max_bad_rows=fraction)
