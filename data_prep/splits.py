"""Named, seeded splits of ratings into training, validation and test.

Each split is one class, and its definition is the SQL in it: it reads the
table `ratings(user_id, item_id, rating, timestamp)` and gives every row its
`split`: `train`, `validation`, `test`, or the reason why the row is dropped.

Where chance decides, the MD5 digest of the ids and the seed does: the same
rating falls on the same side whatever the order of the rows, the number of
shards, or the engine. Digests are compared as text, which for hexadecimal
digits of equal length is their order as numbers.
"""

import abc
import dataclasses
import datetime
import fractions
from typing import Any, ClassVar

import duckdb

from data_prep.errors import UserError

USER_TOO_SHORT = "user_with_fewer_than_2_ratings"


@dataclasses.dataclass(frozen=True)
class Split(abc.ABC):
    """One way to hold ratings out."""

    name: ClassVar[str]
    needs_timestamps: ClassVar[bool]
    # What the user can change when a part comes out empty.
    advice: ClassVar[str]

    def describe(self) -> dict[str, Any]:
        """Returns the name and the parameters, for the manifest."""
        parameters = dataclasses.asdict(self)
        return {"name": self.name} | {
            name: value
            for name, value in parameters.items()
            if value is not None
        }

    def find_cuts(
        self, connection: duckdb.DuckDBPyConnection
    ) -> dict[str, float]:
        """Returns the first timestamps of `validation` and `test`, in seconds.

        Empty for a split that does not cut time.
        """
        return {}

    @abc.abstractmethod
    def to_sql(self, seed: int, cuts: dict[str, float]) -> str:
        """Returns the query of `user_id, item_id, rating, split`."""


@dataclasses.dataclass(frozen=True)
class UserTime(Split):
    """The first 70 % of each user's ratings train, the rest is held out.

    All that is held out of one user belongs to the same part, validation or
    test, each with probability one half. This is the MovieLens converter of
    the paper's reference code, made repeatable: equal timestamps go by item
    id, and a digest takes the place of an unseeded coin.
    """

    name = "user-time"
    needs_timestamps = True
    advice = "--seed or --split (few users have two ratings or more)"

    def to_sql(self, seed: int, cuts: dict[str, float]) -> str:
        return f"""
            SELECT user_id, item_id, rating, CASE
                WHEN num_ratings < 2 THEN '{USER_TOO_SHORT}'
                WHEN position <= num_ratings * 7 // 10 THEN 'train'
                WHEN md5('{seed}:' || user_id) < '8' THEN 'validation'
                ELSE 'test'
            END AS split
            FROM (
                SELECT
                    user_id, item_id, rating,
                    count(*) OVER (PARTITION BY user_id) AS num_ratings,
                    row_number() OVER (
                        PARTITION BY user_id ORDER BY timestamp, item_id
                    ) AS position
                FROM ratings
            )
        """


@dataclasses.dataclass(frozen=True)
class GlobalTime(Split):
    """Trains on the past of everybody and holds the future out.

    train < validation cut <= validation < test cut <= test. The cuts are
    given as dates, or found so that the last `test_fraction` of all ratings
    is test and the `validation_fraction` before it is validation. Ratings of
    one second stay together, on the later side.

    Args:
        validation_fraction: share of the ratings held out for validation,
            0.1 unless dates are given.
        test_fraction: share of the ratings held out for the test, 0.1 unless
            dates are given.
        validation_from: ISO date or time (UTC) of the validation cut.
        test_from: ISO date or time (UTC) of the test cut.

    Raises:
        UserError: for fractions that leave no training ratings, dates that
            cannot be read or are out of order, or one date without the other.
    """

    validation_fraction: float | None = None
    test_fraction: float | None = None
    validation_from: str | None = None
    test_from: str | None = None

    name = "global-time"
    needs_timestamps = True
    advice = (
        "--validation-fraction and --test-fraction, or --validation-from and"
        " --test-from"
    )

    def __post_init__(self) -> None:
        dates = (self.validation_from, self.test_from)
        shares = (self.validation_fraction, self.test_fraction)
        if dates == (None, None):
            validation, test = (0.1 if s is None else s for s in shares)
            _check_fractions(validation, test)
            # The way to fill in a default that depends on other fields.
            object.__setattr__(self, "validation_fraction", validation)
            object.__setattr__(self, "test_fraction", test)
        elif None in dates or shares != (None, None):
            raise UserError(
                "split global-time takes --validation-from together with"
                " --test-from, or fractions, not a mixture. Received:"
                f" {self.describe()}"
            )
        elif not self._dates()["validation"] < self._dates()["test"]:
            raise UserError(
                "--validation-from must be before --test-from. Received:"
                f" {self.validation_from} and {self.test_from}"
            )

    def _dates(self) -> dict[str, float]:
        return {
            "validation": _to_seconds(
                "--validation-from", self.validation_from
            ),
            "test": _to_seconds("--test-from", self.test_from),
        }

    def find_cuts(
        self, connection: duckdb.DuckDBPyConnection
    ) -> dict[str, float]:
        if self.validation_from is not None:
            return self._dates()
        test = 1 - _to_fraction(self.test_fraction)
        validation = test - _to_fraction(self.validation_fraction)
        return {
            "validation": _find_quantile(connection, validation),
            "test": _find_quantile(connection, test),
        }

    def to_sql(self, seed: int, cuts: dict[str, float]) -> str:
        return f"""
            SELECT user_id, item_id, rating, CASE
                WHEN timestamp < CAST('{cuts["validation"]!r}' AS DOUBLE)
                    THEN 'train'
                WHEN timestamp < CAST('{cuts["test"]!r}' AS DOUBLE)
                    THEN 'validation'
                ELSE 'test'
            END AS split
            FROM ratings
        """


@dataclasses.dataclass(frozen=True)
class Random(Split):
    """Holds each rating out by itself, whoever gave it and whenever.

    Args:
        validation_fraction: probability of validation.
        test_fraction: probability of test.

    Raises:
        UserError: for fractions that leave no training ratings.
    """

    validation_fraction: float = 0.1
    test_fraction: float = 0.1

    name = "random"
    needs_timestamps = False
    advice = "--validation-fraction and --test-fraction"

    def __post_init__(self) -> None:
        _check_fractions(self.validation_fraction, self.test_fraction)

    def to_sql(self, seed: int, cuts: dict[str, float]) -> str:
        test = _to_fraction(self.test_fraction)
        held_out = test + _to_fraction(self.validation_fraction)
        # The length keeps ('1', '23') and ('12', '3') apart.
        return f"""
            SELECT user_id, item_id, rating, CASE
                WHEN digest < '{_to_digits(test)}' THEN 'test'
                WHEN digest < '{_to_digits(held_out)}' THEN 'validation'
                ELSE 'train'
            END AS split
            FROM (
                SELECT user_id, item_id, rating, md5(concat(
                    '{seed}:', length(user_id), ':', user_id, ':', item_id
                )) AS digest
                FROM ratings
            )
        """


SPLITS: dict[str, type[Split]] = {
    split.name: split for split in (UserTime, GlobalTime, Random)
}


def make_split(
    name: str,
    *,
    validation_fraction: float | None = None,
    test_fraction: float | None = None,
    validation_from: str | None = None,
    test_from: str | None = None,
) -> Split:
    """Returns the split of that name.

    Args:
        name: a key of `SPLITS`.
        validation_fraction: see the splits that take it.
        test_fraction: see the splits that take it.
        validation_from: see `GlobalTime`.
        test_from: see `GlobalTime`.

    Raises:
        UserError: for an unknown name, a parameter that the split does not
            take, or a value it cannot use.
    """
    if name not in SPLITS:
        raise UserError(
            f"unknown split {name!r}. The splits are: {', '.join(SPLITS)}."
        )
    given = {
        "validation_fraction": validation_fraction,
        "test_fraction": test_fraction,
        "validation_from": validation_from,
        "test_from": test_from,
    }
    given = {key: value for key, value in given.items() if value is not None}
    split = SPLITS[name]
    taken = {field.name for field in dataclasses.fields(split)}
    for parameter in given:
        if parameter not in taken:
            flag = "--" + parameter.replace("_", "-")
            raise UserError(f"split {name} does not use {flag}.")
    return split(**given)


def _check_fractions(validation: float, test: float) -> None:
    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise UserError(
            "--validation-fraction and --test-fraction must be at least 0 and"
            f" together less than 1. Received: {validation} and {test}"
        )


def _to_seconds(flag: str, text: str | None) -> float:
    try:
        moment = datetime.datetime.fromisoformat(str(text))
    except ValueError:
        raise UserError(
            f"{flag} must be an ISO date such as 2005-12-01. Received: {text!r}"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return moment.timestamp()


def _to_fraction(share: float | None) -> fractions.Fraction:
    # As it is written: 0.1 is a tenth, and not the nearest binary number.
    return fractions.Fraction(str(share))


def _to_digits(fraction: fractions.Fraction) -> str:
    # 13 hexadecimal digits: 52 bits. Less than 1, so the width is enough.
    return f"{int(fraction * 16**13):013x}"


def _find_quantile(
    connection: duckdb.DuckDBPyConnection, fraction: fractions.Fraction
) -> float:
    """Returns the timestamp that follows the first `fraction` of them."""
    (num_ratings,) = connection.execute(
        "SELECT count(*) FROM ratings"
    ).fetchall()[0]
    rows = connection.execute(
        "SELECT timestamp FROM ratings ORDER BY timestamp LIMIT 1 OFFSET ?",
        [int(num_ratings * fraction)],
    ).fetchall()
    return float(rows[0][0]) if rows else float("inf")
