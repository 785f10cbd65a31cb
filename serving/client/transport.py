"""The interface of a connection to one model, over any protocol."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from serving.client.retries import Deadline
from serving.protocol import Code, VersionStatus

#: The inputs of a signature for one user, by name: lists of strings or floats,
#: or an integer, the tensors of `serving.protocol` without the batch dimension.
Row = Mapping[str, list[Any] | int]


class Answer(NamedTuple):
    """The outputs of a signature for one user.

    Attributes:
        row: the tensors by name, without the batch dimension, as values and
            nested lists of values.
        status: the status that they came with: HTTP's, or gRPC's `Code`.
    """

    row: Mapping[str, Any]
    status: int | Code


class Transport(Protocol):
    """A connection to one model. Threads may share it."""

    def predict(
        self, signature_name: str, row: Row, deadline: Deadline
    ) -> Answer:
        """Runs a signature for one user, once.

        Raises:
            ServingError: if there is no answer, or not one for one user.
        """

    def read_status(self, deadline: Deadline) -> list[VersionStatus]:
        """Reads the status of the model's versions, newest first.

        Raises:
            ServingError: if there is no answer, or not the expected one.
        """

    def close(self) -> None:
        """Closes the connections."""
