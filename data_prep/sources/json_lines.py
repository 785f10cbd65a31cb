"""Reads lines of JSON."""

import json
from typing import Any


def parse_object(line: str) -> dict[str, Any] | None:
    """Returns the object in a line, numbers as their text; `None` if none is.

    Args:
        line: the line, which may be malformed.
    """
    try:
        value = json.loads(line, parse_float=str, parse_int=str)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
