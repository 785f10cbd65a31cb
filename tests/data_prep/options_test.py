import pytest

from data_prep.dataset.errors import UserError
from data_prep.options import Options, parse_missing_values


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_fraction_of_bad_rows_is_checked(fraction):
    with pytest.raises(UserError, match="--max-bad-rows must be a fraction"):
        Options(max_bad_rows=fraction)


def test_missing_values_are_parsed():
    assert parse_missing_values(["99", "-1.0"]) == (99.0, -1.0)


@pytest.mark.parametrize("text", ["none", "", "1;2"])
def test_missing_value_that_is_no_number_is_named(text):
    with pytest.raises(
        UserError, match=f"--missing-value must be a number.* Received: {text}$"
    ):
        parse_missing_values([text])


def test_missing_values_are_finite():
    with pytest.raises(UserError, match=r"--missing-value.*Received: nan"):
        Options(missing_values=(float("nan"),))
