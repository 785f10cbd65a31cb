"""What a client needs of the way to a server."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from serving.client.retries import Deadline

#: The inputs of a signature for one user, by name: strings or floats.
Row = Mapping[str, list[Any]]


class Answer(NamedTuple):
    """The outputs of a signature for one user.

    Attributes:
        row: values and nested lists of values by name.
        status: the status that it came with.
    """

    row: Mapping[str, Any]
    status: int


class VersionStatus(NamedTuple):
    """What a server says of a version of a model.

    Attributes:
        version: its number.
        state: AVAILABLE when it answers; START, LOADING, UNLOADING, END.
        error_message: why it ended, if it failed.
    """

    version: int
    state: str
    error_message: str


class Transport(Protocol):
    """The way to one model. Threads may share it."""

    def predict(
        self, signature_name: str, row: Row, deadline: Deadline
    ) -> Answer:
        """Runs a signature once.

        Raises:
            ServingError: there is no answer, or not one for one user.
        """

    def read_status(self, deadline: Deadline) -> list[VersionStatus]:
        """Asks for the versions of the model, newest first.

        Raises:
            ServingError: there is no answer, or not the expected one.
        """

    def close(self) -> None:
        """Frees what the transport holds."""
