"""The rules for a valid row, in SQL over the fields of a table."""

import dataclasses
import math
from typing import Any

import duckdb
import pyarrow as pa

from data_prep.dataset.errors import UserError
from data_prep.rules import ids
from data_prep.rules.excerpts import excerpt

ROLES = ("user", "item", "rating", "timestamp")

MALFORMED = "malformed_line"
OFF_SCALE = "off_scale_rating"

# A valid rating fits float32, the type of the records. NaN compares greater
# than all numbers. Adding 0.0 turns -0.0 into 0.0.
_RATING = """CASE
    WHEN abs(TRY_CAST({0} AS DOUBLE)) <= 3.4e38
    THEN TRY_CAST({0} AS DOUBLE) + 0.0
END"""
# Unix seconds, or milliseconds from 1e11 on, which in seconds would be the
# year 5138.
_UNIX_TIME = """
    WHEN abs(TRY_CAST({0} AS DOUBLE)) < 1e11 THEN TRY_CAST({0} AS DOUBLE)
    WHEN abs(TRY_CAST({0} AS DOUBLE)) < 1e14
    THEN TRY_CAST({0} AS DOUBLE) / 1000
"""
# An ISO time is UTC unless it has an offset. A date without a time is UTC.
_ISO_TIME = """
    WHEN length({0}) = 10 AND isfinite(TRY_CAST({0} AS DATE))
    THEN epoch(TRY_CAST({0} AS DATE))
    WHEN isfinite(TRY_CAST({0} AS TIMESTAMPTZ))
    THEN epoch(TRY_CAST({0} AS TIMESTAMPTZ))
"""
_EXPECTED = {
    "user": ids.EXPECTED,
    "item": ids.EXPECTED,
    "rating": "must be a finite number",
    "timestamp": (
        "must be Unix seconds, Unix milliseconds or an ISO date such as"
        " 2005-12-01"
    ),
}


@dataclasses.dataclass(frozen=True)
class Scale:
    """The range of valid ratings, both ends included.

    Args:
        lowest: the lowest rating.
        highest: the highest rating.
        missing_values: values that mean "not rated", which are not invalid
            though they may be off the scale.
    """

    lowest: float
    highest: float
    missing_values: tuple[float, ...] = ()

    def __str__(self) -> str:
        return f"{self.lowest:g}:{self.highest:g}"


def parse_scale(text: str) -> Scale:
    """Parses a scale such as `1:5`.

    Raises:
        UserError: if it is not two finite numbers, the lower one first.
    """
    lowest, _, highest = text.partition(":")
    try:
        scale = Scale(float(lowest), float(highest))
    except ValueError:
        scale = Scale(0, 0)
    if not -math.inf < scale.lowest < scale.highest < math.inf:
        raise UserError(
            f"--rating-scale must be two numbers such as 1:5. Received: {text}"
        )
    return scale


def select_rows(
    columns: dict[str, tuple[str, str]],
    scale: Scale | None,
    origin: str,
    source: str,
) -> str:
    """Returns the SQL query that converts and checks the rows of a table.

    The query returns `user_id`, `item_id`, `rating` and `timestamp`. For an
    invalid row it also returns `reason`, `fields` (as text, in the order of
    `columns`) and `origin`; for a valid row these are NULL.

    Args:
        columns: role -> SQL expression of the field and its SQL type, for
            each role that the table has.
        scale: the valid ratings, `None` for all finite numbers.
        origin: SQL expression that says where the row comes from.
        source: SQL expression of the table.
    """
    # The prefixes avoid clashes with the columns of tables and results.
    inputs = [
        f"{field} ->> '$' AS field_{role}, json_type({field}) AS type_{role}"
        if kind == "JSON"
        else f"{field} AS field_{role}"
        for role, (field, kind) in columns.items()
    ]
    values = {
        role: _to_value(role, f"field_{role}", kind)
        for role, (_, kind) in columns.items()
    }
    reasons = [
        _to_id_reason("user"),
        _to_id_reason("item"),
        _to_reason("rating"),
    ]
    if scale is not None:
        is_off_scale = (
            f"rating NOT BETWEEN {scale.lowest!r} AND {scale.highest!r}"
        )
        if scale.missing_values:
            listed = ", ".join(f"{v!r}::FLOAT" for v in scale.missing_values)
            is_off_scale += f" AND rating::FLOAT NOT IN ({listed})"
        reasons.append(f"WHEN {is_off_scale} THEN '{OFF_SCALE}'")
    if "timestamp" in columns:
        reasons.append(_to_reason("timestamp"))
    fields = ", ".join(f"CAST(field_{role} AS VARCHAR)" for role in columns)
    return f"""
        SELECT
        {values["user"]} AS user_id,
        {values["item"]} AS item_id,
        {values["rating"]} AS rating,
        {values.get("timestamp", "CAST(NULL AS DOUBLE)")} AS timestamp,
        CASE {" ".join(reasons)} END AS reason,
        CASE WHEN reason IS NOT NULL THEN [{fields}] END AS fields,
        CASE WHEN reason IS NOT NULL THEN field_origin END AS origin
        FROM (
            SELECT {", ".join(inputs)}, {origin} AS field_origin FROM {source}
        )
    """


def validate(
    table: pa.Table, columns: dict[str, str], scale: Scale | None, origin: str
) -> pa.Table:
    """Runs the query of `select_rows` on a table in memory.

    Args:
        table: the fields, of any types.
        columns: role -> name of its column, for each role that the table has.
        scale: the valid ratings, `None` for all finite numbers.
        origin: SQL expression that says where the row comes from.
    """
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("fields", table)
        relation = connection.table("fields")
        types = dict(
            zip(relation.columns, map(str, relation.types), strict=True)
        )
        typed = {
            role: (f'"{name}"', types[name]) for role, name in columns.items()
        }
        query = select_rows(typed, scale, origin, "fields")
        return connection.sql(query).to_arrow_table()


def explain(
    row: dict[str, Any], headers: dict[str, str], scale: Scale | None
) -> str:
    """Returns a sentence that says why a row is invalid.

    Args:
        row: an invalid row of the result of `select_rows`.
        headers: role -> the user's name of its column, in the order of
            `columns` there.
        scale: the valid ratings, `None` for all finite numbers.
    """
    kind, _, role = row["reason"].rpartition("_")
    text = row["fields"][list(headers).index(role)] or ""
    expected = _EXPECTED[role]
    if kind == "missing" and role in ("user", "item"):
        expected = "must not be empty"
    if row["reason"] == OFF_SCALE:
        expected = f"must be on the scale {scale}"
    return (
        f"the {role} (column {headers[role]}) {expected}. Received:"
        f" {excerpt(text)}"
    )


def _to_value(role: str, field: str, kind: str) -> str:
    if kind == "JSON":
        text = _to_value(role, field, "VARCHAR")
        return (
            f"CASE WHEN type_{role} NOT IN ('ARRAY', 'BOOLEAN', 'OBJECT')"
            f" THEN {text} END"
        )
    if role in ("user", "item"):
        return ids.to_id(field, kind)
    if role == "rating":
        rule = _RATING
    else:
        if kind.startswith("TIMESTAMPTZ"):
            # Times of nanoseconds and a zone have no functions of their own.
            field = f"CAST({field} AS TIMESTAMPTZ)"
        if kind.startswith(("DATE", "TIMESTAMP")):
            return f"CASE WHEN isfinite({field}) THEN epoch({field}) END"
        cases = _UNIX_TIME + (_ISO_TIME if kind == "VARCHAR" else "")
        rule = f"CASE {cases} END"
    value = rule.format(field)
    if kind == "VARCHAR":
        # Casts skip the blanks of ASCII only. Few texts have others, and
        # DuckDB would trim all of them in a coalesce().
        trimmed = rule.format(ids.TRIMMED.format(field))
        value = f"CASE WHEN {value} IS NULL THEN {trimmed} ELSE {value} END"
    return value


def _to_id_reason(role: str) -> str:
    return f"""
        WHEN {role}_id IS NULL THEN CASE
            WHEN {ids.is_missing(f"field_{role}")}
            THEN 'missing_{role}' ELSE 'unreadable_{role}'
        END
    """


def _to_reason(role: str) -> str:
    return f"""
        WHEN {role} IS NULL THEN CASE
            WHEN coalesce(CAST(field_{role} AS VARCHAR), '') = ''
            THEN 'missing_{role}' ELSE 'unreadable_{role}'
        END
    """
