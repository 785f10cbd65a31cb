"""Defines the error for mistakes that the user can fix."""


class UserError(ValueError):
    """A mistake in data, flags or paths that the user can fix.

    The message names the place, the value and the fix. Commands print it as
    one line; any other exception is a bug and keeps its traceback.
    """
