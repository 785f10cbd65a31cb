"""Starts a command: parses its flags, runs it and reports errors."""

import contextlib
import logging as stdlib_logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import app, flags, logging

import tensorflow_startup
from data_prep import cloud_logs
from data_prep.dataset.errors import TransientError, UserError

# Before any module of the command loads TensorFlow.
tensorflow_startup.install()

# What `define_path` defines belongs to the module that calls it, whose --help
# lists it.
flags.disclaim_key_flags()

# The message of absl about a missing flag.
_MISSING = re.compile(
    r"flag --(\w+)=None: Flag --\1 must have a value other than None"
)

#: Status of a failure that may pass: `EX_TEMPFAIL` of sysexits.h.
TRANSIENT_STATUS = 75

#: The same on Vertex AI, which starts a job again whose process seems to have
#: crashed by SIGABRT, and takes any other status for a permanent failure.
VERTEX_TRANSIENT_STATUS = 134

# What tuning services send for a boolean, and a whole number as a float.
_BOOLEANS = ("true", "false")
_WHOLE = re.compile(r"([-+]?\d+)\.0*")

# The directories of the packages whose messages are for the user.
_PACKAGE_DIRS = tuple(
    os.path.join(os.path.dirname(os.path.dirname(__file__)), package, "")
    for package in (
        "data_prep",
        "trainer",
        "export",
        "serving",
        "deep_recommender",
    )
)


def run(main: Callable[[], None], rest: list[str] | None = None) -> None:
    """Parses the flags, runs `main`, and exits with a status code.

    Flag names take `-` and `_` alike; an unknown flag is an error. A mistake
    that the user can fix (`UserError`, or an operating-system error such as a
    full disk or a missing permission) ends the command with a message of one
    line and status 1 (2 for a mistake in the command line itself, 75 for a
    failure that may pass, which is 134 on Vertex AI). Any other exception is a
    bug and keeps its traceback. On Vertex AI messages are lines of JSON.

    Args:
        main: the command, called after the flags are parsed.
        rest: collects the arguments that are not flags of this command, if
            the command passes them on. If `None`, such arguments are errors.
    """
    flags.FLAGS.set_default("verbosity", logging.INFO)
    logging.get_absl_handler().addFilter(_is_for_the_user)
    if cloud_logs.is_collected():
        logging.get_absl_handler().setFormatter(cloud_logs.Formatter())
    app.run(
        lambda _: _run_main(main),
        flags_parser=lambda argv: _parse_flags(argv, rest),
    )


def define_path(
    name: str, default: str | None, help_text: str, *, required: bool = False
) -> "flags.FlagHolder[Any]":
    """Defines a flag that holds a path; `~` is the home directory.

    A shell leaves `~` as it is in `--name=~/data`.
    """
    return flags.DEFINE(
        _PathParser(), name, default, help_text, required=required
    )


class _PathParser(flags.ArgumentParser):  # type: ignore[type-arg]
    """Replaces `~` by the home directory."""

    def parse(self, argument: str) -> str:
        return os.path.expanduser(argument)


def _is_for_the_user(record: stdlib_logging.LogRecord) -> bool:
    """Filters out messages of libraries below the level of warnings."""
    return (
        record.pathname.startswith(_PACKAGE_DIRS)
        or record.levelno >= stdlib_logging.WARNING
    )


def _parse_flags(argv: Sequence[str], rest: list[str] | None) -> list[str]:
    normalized = _normalize(argv[1:])
    passes_on = rest is not None
    # Flags of this command may follow the values of flags that are passed on.
    flags.FLAGS.set_gnu_getopt(passes_on)
    try:
        positional = flags.FLAGS([argv[0], *normalized], known_only=passes_on)[
            1:
        ]
    except flags.Error as error:
        message = _MISSING.sub(_name_missing, str(error)).rstrip(".")
        _fail(f"{message}. --help lists the flags.", exit_code=2)
    if rest is not None:
        rest += positional
    elif positional:
        _fail(
            f"unexpected argument {positional[0]!r}: every value belongs to a"
            " flag. --help lists the flags.",
            exit_code=2,
        )
    return [argv[0]]


def _name_missing(missing: re.Match[str]) -> str:
    return f"--{missing[1].replace('_', '-')} is missing"


def _normalize(
    arguments: Sequence[str], values: "flags.FlagValues" = flags.FLAGS
) -> list[str]:
    """Writes arguments as absl takes them.

    Tuning services send every value as a word of its own, and every number as
    a float: `--tie-weights true --batch-size 64.0`.

    Args:
        arguments: the words of the command line.
        values: the flags of the command.
    """
    known = {name: values[name] for name in values}
    normalized: list[str] = []
    owner: flags.Flag[Any] | None = None
    for argument in arguments:
        if argument.startswith("--"):
            name, equals, value = _with_underscores(argument).partition("=")
            owner = known.get(name[2:])
            normalized.append(name + equals + _to_integer(owner, value))
            if equals:
                owner = None
            continue
        if owner is not None and owner.boolean:
            if argument.lower() in _BOOLEANS:
                normalized[-1] += f"={argument}"
            else:
                normalized.append(argument)
        else:
            normalized.append(_to_integer(owner, argument))
        owner = None
    return normalized


def _to_integer(flag: "flags.Flag[Any] | None", value: str) -> str:
    """Returns the digits of a whole number that is for an integer flag."""
    if flag is None or not isinstance(flag.parser, flags.IntegerParser):
        return value
    whole = _WHOLE.fullmatch(value)
    return whole[1] if whole else value


def _with_underscores(argument: str) -> str:
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value


def _run_main(main: Callable[[], None]) -> None:
    failure = _try(main)
    # The error is gone by now, and with it the frames that led to it. In them
    # TensorFlow leaves pools of threads which, still there when Python exits,
    # end with a traceback of their own.
    if failure is not None:
        _fail(*failure)


def _try(main: Callable[[], None]) -> tuple[str, int] | None:
    """Runs a command; returns its message and status if it fails."""
    # Imported late, so that flag errors and --help do not wait for TensorFlow.
    import tensorflow as tf

    from data_prep.dataset.files import OUTAGES, reason

    tf.get_logger().setLevel(stdlib_logging.WARNING)
    try:
        main()
    except TransientError as error:
        return _explain(str(error), _transient_status())
    except OUTAGES as error:
        return _explain(
            f"{reason(error)}. Start the same command again.",
            _transient_status(),
        )
    except (
        UserError,
        OSError,
        tf.errors.NotFoundError,
        tf.errors.PermissionDeniedError,
        tf.errors.ResourceExhaustedError,
        tf.errors.UnauthenticatedError,
    ) as error:
        return _explain(reason(error), 1)
    except KeyboardInterrupt:
        return "interrupted", 130
    return None


def _explain(message: str, status: int) -> tuple[str, int]:
    logging.debug("Traceback of the error below.", exc_info=True)
    return message, status


def _transient_status() -> int:
    if cloud_logs.is_collected():
        return VERTEX_TRANSIENT_STATUS
    return TRANSIENT_STATUS


@contextlib.contextmanager
def needs(library: str, *, extra: str) -> Iterator[None]:
    """Explains that a library is missing if the block cannot import it.

    Args:
        library: the name that it is imported by.
        extra: the extra of this project that brings it.

    Raises:
        UserError: it is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != library:
            raise
        raise UserError(
            f"this command needs `{library}`. pip install"
            f" 'deep-recommender[{extra}]' brings it."
        ) from None


def _fail(message: str, exit_code: int) -> None:
    sys.stdout.flush()
    message = " ".join(message.split())
    if cloud_logs.is_collected():
        sys.stderr.write(f"{cloud_logs.to_line('ERROR', message)}\n")
    else:
        sys.stderr.write(f"error: {message}\n")
    sys.exit(exit_code)
