"""Defines the errors that commands print as one line."""


class UserError(ValueError):
    """A mistake in data, flags or paths that the user can fix.

    The message names the place, the value and the fix. Commands print it as
    one line; any other exception is a bug and keeps its traceback.
    """


class TransientError(UserError):
    """A failure that may be gone when the command is started again.

    A lost worker or a store that does not answer is one. Commands end with a
    status that tells schedulers to start them again.
    """
