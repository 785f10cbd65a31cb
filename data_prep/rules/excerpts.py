"""Quotes parts of files in messages, however long the parts are."""

from collections.abc import Iterable

_MAX_CHARACTERS = 200


def excerpt(content: str | bytes | list[str]) -> str:
    """Returns the literal of some content, or of its start."""
    if not isinstance(content, list):
        # A line of megabytes need not become a literal first.
        content = content[: 2 * _MAX_CHARACTERS]
    return _shorten(repr(content))


def list_some(names: Iterable[str]) -> str:
    """Returns names with commas, as many as a message has room for."""
    return _shorten(", ".join(names))


def _shorten(text: str) -> str:
    if len(text) <= _MAX_CHARACTERS:
        return text
    return f"{text[:_MAX_CHARACTERS]} ..."
