"""The command-line parser of the serving commands, and their errors."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """A parser of flags that take `-` and `_` alike, with errors of one line.

    Define flags with `_`. An abbreviated or unknown flag is an error, with
    exit code 2.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(allow_abbrev=False, **kwargs)

    def parse(self, arguments: Sequence[str] | None) -> argparse.Namespace:
        """Parses `arguments`, or the command line for None."""
        if arguments is None:
            arguments = sys.argv[1:]
        return self.parse_args([_with_underscores(each) for each in arguments])

    def error(self, message: str) -> NoReturn:
        fail(f"{message}. --help lists the flags.", exit_code=2)


def port_number(text: str) -> int:
    """Parses the number of a port, as the `type` of a flag."""
    if not (text.isdecimal() and int(text) < 2**16):
        raise argparse.ArgumentTypeError(
            f"must be a number from 0 to 65535. Received: {text!r}"
        )
    return int(text)


def fail(message: str, exit_code: int) -> NoReturn:
    """Ends the command with one line on standard error."""
    sys.stdout.flush()
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    sys.exit(exit_code)


def _with_underscores(argument: str) -> str:
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value
