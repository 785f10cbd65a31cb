"""What a usable row is, as SQL over the fields of a table."""

import dataclasses
from typing import Any

import duckdb
import pyarrow as pa

from data_prep.dataset.errors import UserError

ROLES = ("user", "item", "rating", "timestamp")

# Ids of these types stay numbers for now: each of them is turned into text
# once, and not in every row.
_WHOLE_NUMBERS = {
    *("TINYINT", "SMALLINT", "INTEGER", "BIGINT"),
    *("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"),
}

# A valid rating fits float32, as which it is stored. NaN compares greater.
_RATING = """CASE
    WHEN abs(TRY_CAST({0} AS DOUBLE)) <= 3.4e38
    THEN TRY_CAST({0} AS DOUBLE) + 0.0
END"""
# Seconds since 1970 from seconds, or milliseconds (1e11 seconds would be the
# year 5138).
_UNIX_TIME = """
    WHEN abs(TRY_CAST({0} AS DOUBLE)) < 1e11 THEN TRY_CAST({0} AS DOUBLE)
    WHEN abs(TRY_CAST({0} AS DOUBLE)) < 1e14
    THEN TRY_CAST({0} AS DOUBLE) / 1000
"""
# An ISO date is UTC unless it says otherwise. Without a time it cannot.
_ISO_TIME = """
    WHEN length({0}) = 10 AND isfinite(TRY_CAST({0} AS DATE))
    THEN epoch(TRY_CAST({0} AS DATE))
    WHEN isfinite(TRY_CAST({0} AS TIMESTAMPTZ))
    THEN epoch(TRY_CAST({0} AS TIMESTAMPTZ))
"""
_EXPECTED = {
    "user": "must not be empty",
    "item": "must not be empty",
    "rating": "must be a finite number",
    "timestamp": (
        "must be Unix seconds, Unix milliseconds or an ISO date such as"
        " 2005-12-01"
    ),
}

MALFORMED = "malformed_line"
OFF_SCALE = "off_scale_rating"


@dataclasses.dataclass(frozen=True)
class Scale:
    """The ratings that may be given, both ends included."""

    lowest: float
    highest: float

    def __str__(self) -> str:
        return f"{self.lowest:g}:{self.highest:g}"


def parse_scale(text: str) -> Scale:
    """Reads a scale such as `1:5`.

    Raises:
        UserError: when it is not two numbers, the lower one first.
    """
    lowest, _, highest = text.partition(":")
    try:
        scale = Scale(float(lowest), float(highest))
    except ValueError:
        scale = Scale(0, 0)
    if not scale.lowest < scale.highest:
        raise UserError(
            f"--rating-scale must be two numbers such as 1:5. Received: {text}"
        )
    return scale


def select_rows(
    columns: dict[str, tuple[str, str]],
    scale: Scale | None,
    place: str,
    source: str,
) -> str:
    """Returns the query that turns fields into ratings.

    It gives `user_id`, `item_id`, `rating`, `timestamp`, and for rows that
    cannot be used `reason`, `texts` (the fields as text, in the order of
    `columns`) and `place`; NULL for all others.

    Args:
        columns: for each role that the table has, the SQL of its field and
            the field's type; text is VARCHAR.
        scale: the ratings that may be, if that is known.
        place: SQL that says where the row is.
        source: what the query reads from.
    """
    # Fields get names that no table and no result has.
    inputs = [f"{field} AS field_{k}" for k, (field, _) in columns.items()]
    values = {
        role: _to_value(role, f"field_{role}", kind)
        for role, (_, kind) in columns.items()
    }
    reasons = [
        "WHEN user_id IS NULL THEN 'missing_user'",
        "WHEN item_id IS NULL THEN 'missing_item'",
        _to_reason("rating"),
    ]
    if scale is not None:
        reasons.append(
            f"WHEN rating NOT BETWEEN {scale.lowest!r} AND {scale.highest!r}"
            f" THEN '{OFF_SCALE}'"
        )
    if "timestamp" in columns:
        reasons.append(_to_reason("timestamp"))
    texts = ", ".join(f"CAST(field_{role} AS VARCHAR)" for role in columns)
    return f"""
        SELECT
        {values["user"]} AS user_id,
        {values["item"]} AS item_id,
        {values["rating"]} AS rating,
        {values.get("timestamp", "CAST(NULL AS DOUBLE)")} AS timestamp,
        CASE {" ".join(reasons)} END AS reason,
        CASE WHEN reason IS NOT NULL THEN [{texts}] END AS texts,
        CASE WHEN reason IS NOT NULL THEN field_place END AS place
        FROM (SELECT {", ".join(inputs)}, {place} AS field_place FROM {source})
    """


def validate(
    table: pa.Table, columns: dict[str, str], scale: Scale | None, place: str
) -> pa.Table:
    """Returns what `select_rows` says of a table in memory, row by row.

    Args:
        table: the fields, of any type.
        columns: for each role that the table has, the name of its column.
        scale: the ratings that may be, if that is known.
        place: SQL that says where the row is.
    """
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("fields", table)
        known = connection.table("fields")
        types = dict(zip(known.columns, map(str, known.types), strict=True))
        typed = {role: (f'"{k}"', types[k]) for role, k in columns.items()}
        query = select_rows(typed, scale, place, "fields")
        return connection.sql(query).to_arrow_table()


def explain(
    row: dict[str, Any], headers: dict[str, str], scale: Scale | None
) -> str:
    """Says in words why a row cannot be used.

    Args:
        row: what `select_rows` gives for it.
        headers: what the column of each role is called, as `columns` there.
        scale: the ratings that may be, if that is known.
    """
    role = row["reason"].rpartition("_")[2]
    text = row["texts"][list(headers).index(role)] or ""
    expected = _EXPECTED[role]
    if row["reason"] == OFF_SCALE:
        expected = f"must be on the scale {scale}"
    return f"the {role} (column {headers[role]}) {expected}. Received: {text!r}"


def _to_value(role: str, field: str, kind: str) -> str:
    if role in ("user", "item"):
        if kind in _WHOLE_NUMBERS:
            return field
        text = field if kind == "VARCHAR" else f"CAST({field} AS VARCHAR)"
        return f"nullif({text}, '')"
    if role == "rating":
        return _RATING.format(field)
    if kind.startswith(("DATE", "TIMESTAMP")):
        return f"CASE WHEN isfinite({field}) THEN epoch({field}) END"
    cases = _UNIX_TIME + (_ISO_TIME if kind == "VARCHAR" else "")
    return f"CASE {cases.format(field)} END"


def _to_reason(role: str) -> str:
    return f"""
        WHEN {role} IS NULL THEN CASE
            WHEN coalesce(CAST(field_{role} AS VARCHAR), '') = ''
            THEN 'missing_{role}' ELSE 'unreadable_{role}'
        END
    """
