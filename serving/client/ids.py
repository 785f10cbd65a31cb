"""The rule from a value to the text of an item id, as preparation has it.

Blanks and NULs around a text are not part of it, and a whole number is its
digits: 7, 7.0 and "7.0" are the id "7", -0.0 is "0", while "007" stays "007".
`NaN`, `None`, `null`, `<NA>` in any case and the empty text are missing.
"""

import re

# White space as Unicode defines it, the byte order mark, and the NULs that fill
# texts of fixed width.
_BLANKS = (
    "\0\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
_MISSING = ("", "nan", "none", "null", "<na>")
_WHOLE_NUMBER = re.compile(r"-?(0)\.0+|(-?[0-9]+)\.0+")
# The first whole number whose successor a float cannot hold.
_FLOAT_LIMIT = 2**53


def to_id(value: object) -> str | None:
    """Returns the id that a value holds; `None` for one that is no id."""
    match value:
        case bool():
            return None
        case int():
            return str(value)
        case float() if abs(value) < _FLOAT_LIMIT:
            return str(int(value)) if value.is_integer() else str(value)
        case str():
            text = value.strip(_BLANKS)
            if text.lower() in _MISSING:
                return None
            whole = _WHOLE_NUMBER.fullmatch(text)
            return whole[1] or whole[2] if whole else text
    return None
