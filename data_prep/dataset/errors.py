"""The error that a user can mend."""


class UserError(ValueError):
    """A mistake in data, flags or paths that the user can mend.

    Its message names the place, the value and the fix. Commands print it as
    one line; any other exception is a defect of the program and keeps its
    traceback.
    """
