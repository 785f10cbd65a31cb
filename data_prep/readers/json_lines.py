"""Parses single lines of JSON; `delimited` reads files of them."""

import json
from typing import Any


class Number(str):
    """A number, as it is written."""


def parse_object(line: str) -> dict[str, Any] | None:
    """Returns the object in a line, numbers as `Number`; `None` if none is.

    Args:
        line: the line, which may be malformed.
    """
    try:
        value = json.loads(line, parse_float=Number, parse_int=Number)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def to_text(value: Any) -> str:
    """Returns a value of an object as DuckDB shows it: a text as it is.

    Args:
        value: a value of what `parse_object` returns.
    """
    return value if isinstance(value, str) else _to_json(value)


def _to_json(value: Any) -> str:
    match value:
        case Number():
            return value
        case list():
            return f"[{','.join(map(_to_json, value))}]"
        case dict():
            members = (
                f"{_to_json(key)}:{_to_json(member)}"
                for key, member in value.items()
            )
            return f"{{{','.join(members)}}}"
    return json.dumps(value, ensure_ascii=False)
