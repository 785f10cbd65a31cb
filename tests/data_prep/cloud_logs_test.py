import json
import logging
import sys

from data_prep import cloud_logs


def test_a_record_is_one_line_of_json():
    try:
        raise ValueError("no\nsuch item")
    except ValueError:
        record = logging.LogRecord(
            "absl", logging.WARNING, "/a/b.py", 7, "%s: été", ("x",), None
        )
        record.exc_info = sys.exc_info()
    record.created = 1_000_000_000.5
    line = cloud_logs.Formatter().format(record)
    assert "\n" not in line
    entry = json.loads(line)
    message = entry.pop("message")
    assert message.startswith("x: été\nTraceback")
    assert message.endswith("ValueError: no\nsuch item")
    assert entry == {
        "severity": "WARNING",
        "time": "2001-09-09T01:46:40Z",
        "source": "b.py:7",
    }


def test_only_jobs_of_vertex_ai_are_collected():
    assert cloud_logs.is_collected({"CLOUD_ML_JOB_ID": "5"})
    assert not cloud_logs.is_collected({"HOME": "/root"})
