"""Finds the columns of a table by their headers or positions."""

import dataclasses
from collections.abc import Mapping, Sequence

from data_prep.dataset.errors import UserError
from data_prep.rules.excerpts import list_some

#: What items usually are, in headers.
ITEMS = (
    *("item", "movie", "film", "book", "product", "anime", "artist", "song"),
    *("track", "game", "recipe", "joke", "business", "show", "restaurant"),
)
#: The usual headers of each role, in the form that `normalize` gives them.
HEADERS: dict[str, frozenset[str]] = {
    "user": frozenset(
        ("user", "userid", "uid", "reviewerid", "customerid", "memberid")
    ),
    "item": frozenset(
        (*ITEMS, *(f"{name}id" for name in ITEMS), "iid", "isbn", "asin")
    ),
    "rating": frozenset(
        {
            *("rating", "ratings", "score", "stars", "overall"),
            *("userrating", "bookrating", "movierating", "reviewscore"),
        }
    ),
    "timestamp": frozenset(
        {
            *("timestamp", "time", "ts", "date", "datetime"),
            *("unixreviewtime", "ratingtimestamp", "ratedat", "createdat"),
        }
    ),
}
_OPTIONAL = ("timestamp",)


@dataclasses.dataclass(frozen=True)
class Columns:
    """The columns of a table: headers, or positions from 1.

    `None` stands for the usual headers, such as `user_id` or `movieId`, and
    for the usual order user, item, rating, timestamp without a header.

    Raises:
        UserError: if two of them are the same.
    """

    user: str | None = None
    item: str | None = None
    rating: str | None = None
    timestamp: str | None = None

    def __post_init__(self) -> None:
        given = [text for text in dataclasses.astuple(self) if text is not None]
        for text in given:
            if given.count(text) > 1:
                raise UserError(
                    f"the column {text} cannot be two of user, item, rating and"
                    " timestamp. Name another column for one of them."
                )


def find_columns(
    headers: Sequence[str],
    columns: Columns,
    name: str,
    *,
    fix: str = "--{}-column",
    hint: str = "",
) -> tuple[tuple[str, int], ...]:
    """Finds the columns of a table whose headers are known.

    Args:
        headers: the headers of the table.
        columns: the columns, where they are not the usual ones.
        name: the name of the table in messages.
        fix: how the user names a column, with `{}` for its role.
        hint: what messages about missing columns add.

    Returns:
        Pairs of role and position in `headers`.

    Raises:
        UserError: if columns are missing, all of which it names, or one is
            ambiguous.
    """
    if are_positions(columns, headers):
        return to_positions(columns)
    matches = match_headers(headers, columns)
    given = dataclasses.asdict(columns)
    for role, positions in matches.items():
        if len(positions) > 1:
            raise UserError(
                f"{name} has several {role} columns:"
                f" {list_some(headers[k] for k in positions)}. Choose one with"
                f" {fix.format(role)}, or rename the others."
            )
    missing = [
        role
        for role, positions in matches.items()
        if not positions and (given[role] or role not in _OPTIONAL)
    ]
    if missing:
        described = ", ".join(
            f"no {role} column" + (f" {given[role]!r}" if given[role] else "")
            for role in missing
        )
        which = "the right one" if len(missing) == 1 else "the right ones"
        raise UserError(
            f"{name} has {described}. Its columns are: {list_some(headers)}."
            f" Name {which} with {' '.join(map(fix.format, missing))}{hint}."
        )
    return tuple((role, found[0]) for role, found in matches.items() if found)


def match_headers(
    headers: Sequence[str], columns: Columns
) -> Mapping[str, list[int]]:
    """Returns for each role the positions of the headers that may be its."""
    normalized = list(map(normalize, headers))
    # A column that is named for one role is not the usual one of another.
    named = dataclasses.astuple(columns)
    return {
        role: [
            position
            for position, header in enumerate(headers)
            if (
                normalized[position] in HEADERS[role] and header not in named
                if given is None
                else header == given
            )
        ]
        for role, given in dataclasses.asdict(columns).items()
    }


def are_positions(columns: Columns, headers: Sequence[str]) -> bool:
    """Returns whether the columns are positions, not headers like `1`."""
    given = [text for text in dataclasses.astuple(columns) if text is not None]
    return (
        None not in (columns.user, columns.item, columns.rating)
        and all(text.isdecimal() for text in given)
        and all(1 <= int(text) <= len(headers) for text in given)
        and not set(given) <= set(headers)
    )


def to_positions(columns: Columns) -> tuple[tuple[str, int], ...]:
    """Returns pairs of role and position, from 0, of columns by position."""
    return tuple(
        (role, int(text) - 1)
        for role, text in dataclasses.asdict(columns).items()
        if text is not None
    )


def normalize(header: str) -> str:
    """Removes case, blanks, `_`, `-`, `#`, `%` and the type after a colon."""
    name = header.partition(":")[0].lower()
    return "".join(name.split()).translate(str.maketrans("", "", "_-#%"))
