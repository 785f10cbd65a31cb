"""Errors of the local server: a request refused, a model not loaded."""

from typing import NoReturn

from serving.protocol import Code

# TensorFlow Serving's table (util/net_http/server/public/http_server.cc); any
# other code is 500.
_HTTP_STATUS = {
    Code.INVALID_ARGUMENT: 400,
    Code.FAILED_PRECONDITION: 400,
    Code.OUT_OF_RANGE: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.ABORTED: 409,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.CANCELLED: 499,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
}


class RequestError(Exception):
    """A request that is answered with an error.

    Args:
        code: the canonical code.
        message: what the caller is told.
    """

    def __init__(self, code: Code, message: str):
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def http_status(self) -> int:
        """The HTTP status of the answer."""
        return _HTTP_STATUS.get(self.code, 500)


def refuse(message: str) -> NoReturn:
    """Refuses a request as an invalid argument.

    Raises:
        RequestError: always, with the code INVALID_ARGUMENT.
    """
    raise RequestError(Code.INVALID_ARGUMENT, message)


class ModelLoadError(ValueError):
    """A model that was not found or could not be loaded.

    Args:
        message: the reason.
        code: the canonical code of the failure.
    """

    def __init__(self, message: str, code: Code = Code.NOT_FOUND):
        super().__init__(message)
        self.code = code
