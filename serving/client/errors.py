"""How a client of a served model fails."""

from serving.protocol import Code


class ServingError(Exception):
    """A model that could not be reached, refused, or answered nonsense.

    Args:
        message: the server's text where it sent one.
        status: the HTTP status of a REST answer, or the `Code` of a gRPC one;
            None without an answer.
        is_retriable: whether the same request may be answered if it is sent
            again: the server was busy, or did not get it at all.
    """

    def __init__(
        self,
        message: str,
        status: int | Code | None = None,
        is_retriable: bool = False,
    ):
        super().__init__(message)
        self.message = message
        self.status = status
        self.is_retriable = is_retriable

    def __str__(self) -> str:
        match self.status:
            case None:
                return self.message
            case Code() as code:
                return f"{self.message} (gRPC status {code.name})"
            case status:
                return f"{self.message} (HTTP status {status})"
