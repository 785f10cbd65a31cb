import logging

import pytest
from absl import flags
from absl.testing import flagsaver

from data_prep import command_line
from data_prep.sources import registry

ARGUMENTS = ["command", "--verbosity=0", "--other-runner", "Spark", "--x=y"]


@flagsaver.flagsaver
def test_arguments_of_others_are_handed_on_in_order():
    rest = []
    assert command_line._parse_flags(ARGUMENTS, rest) == ["command"]
    assert rest == ["--other_runner", "Spark", "--x=y"]
    assert flags.FLAGS.verbosity == 0


@flagsaver.flagsaver
def test_without_others_they_are_errors(capsys):
    with pytest.raises(SystemExit, match="2"):
        command_line._parse_flags(ARGUMENTS, None)
    assert "Unknown command line flag" in capsys.readouterr().err


def test_tilde_in_a_path_is_the_home_directory(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    parser = command_line._PathParser()
    assert parser.parse("~/data") == "/home/me/data"
    assert parser.parse("gs://bucket/~") == "gs://bucket/~"


@pytest.mark.parametrize(
    ("path", "level", "is_shown"),
    [
        (command_line.__file__, logging.INFO, True),
        (registry.__file__, logging.INFO, True),
        ("/lib/keras/src/export/export_archive.py", logging.INFO, False),
        ("/lib/keras/src/export/export_archive.py", logging.WARNING, True),
    ],
    ids=["module", "module of a folder", "library", "warning of a library"],
)
def test_messages_of_libraries_are_shown_from_warnings_on(
    path, level, is_shown
):
    record = logging.LogRecord("absl", level, path, 1, "", (), None)
    assert command_line._is_for_the_user(record) is is_shown
