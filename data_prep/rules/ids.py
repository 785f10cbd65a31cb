"""The rule from a value to the text of an id.

Ratings, titles and old vocabularies all go by it, so that the same id meets
itself whatever the type of its column:

- Blanks and NULs around a text are not part of it; `NaN`, `None`, `null`,
  `<NA>` in any case and the empty text are missing.
- Bytes are UTF-8.
- A whole number is its digits, whether an integer, a float, a decimal or the
  text of one: 7, 7.0 and "7.0" are the id "7", -0.0 is "0". The text "007"
  stays "007".
- Another float is its shortest text, and a value of a decimal column has no
  zeros at its end: both are "7.5" for 7.50.
- Floats that have no fraction any more, from 2**53 on (2**24 for 32 bits),
  are no ids: they cannot tell one integer from the next. Nor are booleans,
  lists and objects.

`serving.client.ids` has the same rule for clients, without DuckDB; a test
compares them.
"""

import duckdb
import pyarrow as pa

#: What an id must be, for messages.
EXPECTED = (
    "must be UTF-8 text or a number that is exact (a float is not from 2**53"
    " on)"
)

# Integers stay integers at first: casting each distinct id to text later is
# cheaper than casting each row.
_INTEGER_TYPES = {
    *("TINYINT", "SMALLINT", "INTEGER", "BIGINT"),
    *("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"),
}
# Type -> the first integer whose successor it cannot hold.
_FLOAT_LIMITS = {"FLOAT": 1 << 24, "DOUBLE": 1 << 53}

# White space as Unicode defines it, the byte order mark, and the NULs that fill
# texts of fixed width.
_BLANKS = (
    "\0\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
_MISSING = "('', 'nan', 'none', 'null', '<na>')"
#: The SQL expression of a text without the blanks around it.
TRIMMED = f"trim({{0}}, '{_BLANKS}')"

# Most texts are plain, which is cheap to see: they begin with a digit and end
# with one that is not 0; or they are only ASCII, with no blank at either end,
# no point, and no first letter of a missing value. Reversing a text is cheaper
# than taking its last letter.
_TEXT = f"""CASE
    WHEN {{0}} BETWEEN '0' AND '9~' AND reverse({{0}}) BETWEEN '1' AND '9~'
    THEN {{0}}
    WHEN strlen({{0}}) = length({{0}}) AND {{0}} >= '!'
    AND reverse({{0}}) >= '!'
    AND NOT contains({{0}}, '.')
    AND NOT prefix({{0}}, 'n') AND NOT prefix({{0}}, 'N')
    AND NOT prefix({{0}}, '<')
    THEN {{0}}
    WHEN lower({TRIMMED}) NOT IN {_MISSING}
    THEN regexp_replace({TRIMMED}, '^(?:-(0)|(-?\\d+))\\.0+$', '\\1\\2')
END"""


def to_id(field: str, kind: str) -> str:
    """Returns the SQL expression of the id that a field holds.

    It is an integer for integer types and a text for others; NULL for a value
    that is missing or no id.

    Args:
        field: the SQL expression of the field.
        kind: its SQL type.
    """
    if kind in _INTEGER_TYPES:
        return field
    if kind in _FLOAT_LIMITS:
        return f"""CASE
            WHEN abs({field}) < {_FLOAT_LIMITS[kind]} THEN CASE
                WHEN {field} = trunc({field})
                THEN CAST(CAST({field} AS BIGINT) AS VARCHAR)
                ELSE CAST({field} AS VARCHAR)
            END
        END"""
    if kind.startswith("DECIMAL"):
        text = f"CAST({field} AS VARCHAR)"
        return (
            f"CASE WHEN contains({text}, '.')"
            f" THEN regexp_replace({text}, '\\.?0+$', '') ELSE {text} END"
        )
    if kind == "BLOB":
        return _TEXT.format(f"TRY(decode({field}))")
    return _TEXT.format(f"CAST({field} AS VARCHAR)")


def is_missing(field: str) -> str:
    """Returns the SQL condition that a field without an id is missing."""
    trimmed = TRIMMED.format(f"lower(CAST({field} AS VARCHAR))")
    return f"coalesce({trimmed}, '') IN {_MISSING}"


def to_ids(values: pa.Array) -> pa.StringArray:
    """Returns the ids that values hold; null where there is none.

    Args:
        values: numbers, texts or bytes.
    """
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("fields", pa.table({"field": values}))
        (kind,) = map(str, connection.table("fields").types)
        expression = to_id("field", kind)
        table = connection.sql(
            f"SELECT CAST({expression} AS VARCHAR) AS id FROM fields"
        ).to_arrow_table()
    return table["id"].combine_chunks()
