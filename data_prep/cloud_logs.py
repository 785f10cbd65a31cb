"""Writes messages as Google Cloud's log collector reads them.

A line of JSON becomes an entry with its severity; any other text becomes one
without (https://cloud.google.com/logging/docs/structured-logging).
"""

import json
import logging
import os
import time
from collections.abc import Mapping

#: Set in every training container of Vertex AI.
_JOB_ID = "CLOUD_ML_JOB_ID"


def is_collected(environ: Mapping[str, str] = os.environ) -> bool:
    """Returns whether this process runs as a job of Vertex AI."""
    return _JOB_ID in environ


class Formatter(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line, with the traceback in its message if there is one.

        Args:
            record: what was logged.
        """
        message = record.getMessage()
        if record.exc_info:
            message += f"\n{self.formatException(record.exc_info)}"
        return to_line(
            record.levelname,
            message,
            f"{record.filename}:{record.lineno}",
            record.created,
        )


def to_line(
    severity: str,
    message: str,
    source: str = "",
    seconds: float | None = None,
) -> str:
    """Returns an entry of the log, one line of JSON.

    Args:
        severity: a name such as INFO, WARNING or ERROR.
        message: any text.
        source: the file and line it comes from, if known.
        seconds: its time since 1970; now, if `None`.
    """
    moment = time.gmtime(time.time() if seconds is None else seconds)
    entry = {
        "severity": severity,
        "message": message,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", moment),
    }
    if source:
        entry["source"] = source
    return json.dumps(entry)
