"""The error of a client of a served model."""

import re

from serving.protocol import Code

_GRAPH_NODE = re.compile(r"\s*\[\[\{\{node [^}]*\}\}\]\]")


# The statuses of a request that was understood and refused, such as one for a
# signature that the model does not have.
_REFUSED = (400, Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION)


class ServingError(Exception):
    """A request without an answer, with a refusal, or with a malformed answer.

    Args:
        message: the server's text if it sent one. What TensorFlow adds about
            the node of the graph is taken away.
        status: the HTTP status of a REST answer or the `Code` of a gRPC
            answer; None without an answer.
        is_retriable: whether to send the same request again, because the
            server was busy or did not get it.
    """

    def __init__(
        self,
        message: str,
        status: int | Code | None = None,
        is_retriable: bool = False,
    ):
        message = _GRAPH_NODE.sub("", message)
        super().__init__(message)
        self.message = message
        self.status = status
        self.is_retriable = is_retriable

    @property
    def is_refusal(self) -> bool:
        """Whether the model understood the request, and refused it."""
        return self.status in _REFUSED

    def __str__(self) -> str:
        match self.status:
            case None:
                return self.message
            case Code() as code:
                return f"{self.message} (gRPC status {code.name})"
            case status:
                return f"{self.message} (HTTP status {status})"
