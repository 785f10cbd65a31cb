"""All splits by name."""

import dataclasses

from data_prep.dataset.errors import UserError
from data_prep.splits.base import Split
from data_prep.splits.published import (
    U1,
    U2,
    U3,
    U4,
    U5,
    Fold,
    Netflix1Year,
    Netflix3Months,
    Netflix6Months,
    NetflixFull,
)
from data_prep.splits.random import Random
from data_prep.splits.temporal import GlobalTime, LeaveLastOut, UserTime

#: Name -> split.
SPLITS: dict[str, type[Split]] = {
    split.name: split
    for split in (
        UserTime,
        LeaveLastOut,
        GlobalTime,
        Random,
        Fold,
        U1,
        U2,
        U3,
        U4,
        U5,
        NetflixFull,
        Netflix3Months,
        Netflix6Months,
        Netflix1Year,
    )
}

#: Other name -> name.
ALIASES = {"movielens-user-time": "user-time"}


def make_split(
    name: str,
    *,
    validation_fraction: float | None = None,
    test_fraction: float | None = None,
    validation_from: str | None = None,
    test_from: str | None = None,
) -> Split:
    """Creates a split by name.

    Args:
        name: a key of `SPLITS` or `ALIASES`.
        validation_fraction: see the splits that take it.
        test_fraction: see the splits that take it.
        validation_from: see `GlobalTime`.
        test_from: see `GlobalTime`.

    Raises:
        UserError: for an unknown name, a parameter that the split does not
            take, or a value that it cannot use.

    Example:
        >>> make_split("random", test_fraction=0.2).test_fraction
        0.2
    """
    split = SPLITS.get(ALIASES.get(name, name))
    if split is None:
        raise UserError(
            f"unknown split {name!r}. The splits are:"
            f" {', '.join([*SPLITS, *ALIASES])}."
        )
    parameters = {
        "validation_fraction": validation_fraction,
        "test_fraction": test_fraction,
        "validation_from": validation_from,
        "test_from": test_from,
    }
    given = {
        key: value for key, value in parameters.items() if value is not None
    }
    accepted = {field.name for field in dataclasses.fields(split)}
    for parameter in given:
        if parameter not in accepted:
            flag = "--" + parameter.replace("_", "-")
            raise UserError(f"split {name} does not use {flag}.")
    return split(**given)
