import json
import logging

import pytest
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver

from data_prep import command_line
from data_prep.dataset.errors import TransientError, UserError
from data_prep.sources import registry

ARGUMENTS = ["command", "--verbosity=0", "--other-runner", "Spark", "--x=y"]


@flagsaver.flagsaver
def test_arguments_of_others_are_handed_on_in_order():
    rest = []
    assert command_line._parse_flags(ARGUMENTS, rest) == ["command"]
    assert rest == ["--other_runner", "Spark", "--x=y"]
    assert flags.FLAGS.verbosity == 0


def test_a_library_that_is_missing_is_named_with_its_extra():
    message = r"needs `optical`. pip install 'deep-recommender\[eyes\]'"
    with (
        pytest.raises(UserError, match=message),
        command_line.needs("optical", extra="eyes"),
    ):
        import optical.lenses
    with (
        pytest.raises(ModuleNotFoundError, match="optical"),
        command_line.needs("ocular", extra="eyes"),
    ):
        import optical  # noqa: F401


@flagsaver.flagsaver
def test_without_others_they_are_errors(capsys):
    with pytest.raises(SystemExit, match="2"):
        command_line._parse_flags(ARGUMENTS, None)
    assert "Unknown command line flag" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sent", "value"),
    [
        (["--is-tied", "true"], True),
        (["--is_tied", "False"], False),
        (["--is-tied=true"], True),
        (["--is-tied"], True),
        (["--nois-tied"], False),
        (["--size", "64.0"], 64),
        (["--size=64."], 64),
        (["--size", "-3"], -3),
        (["--rate", "64.0"], 64.0),
        (["--name", "64.0"], "64.0"),
    ],
)
def test_values_are_taken_as_tuning_services_send_them(sent, value):
    values = flags.FlagValues()
    flags.DEFINE_boolean("is_tied", None, "", flag_values=values)
    flags.DEFINE_integer("size", None, "", flag_values=values)
    flags.DEFINE_float("rate", None, "", flag_values=values)
    flags.DEFINE_string("name", None, "", flag_values=values)
    normalized = command_line._normalize(sent, values)
    values(["command", *normalized])
    (found,) = (values[name].value for name in values if values[name].present)
    assert found == value
    assert type(found) is type(value)


def test_a_number_that_is_not_whole_stays_a_mistake():
    values = flags.FlagValues()
    flags.DEFINE_integer("size", None, "", flag_values=values)
    assert command_line._normalize(["--size", "6.5"], values) == [
        "--size",
        "6.5",
    ]


@pytest.mark.parametrize(
    ("error", "message", "status", "status_on_vertex"),
    [
        (UserError("wrong flag"), "wrong flag", 1, 1),
        (OSError("No space left on device"), "No space left on device", 1, 1),
        (
            tf.errors.ResourceExhaustedError(
                None, None, "{{function_node Save}} a/b; No space [Op:Save]"
            ),
            "a/b; No space",
            1,
            1,
        ),
        (TransientError("a worker is gone"), "a worker is gone", 75, 134),
        (
            tf.errors.AbortedError(None, None, "All 10 retries failed"),
            "All 10 retries failed. Start the same command again.",
            75,
            134,
        ),
    ],
)
def test_the_status_says_whether_a_failure_may_pass(
    error, message, status, status_on_vertex, monkeypatch, capsys
):
    def main():
        raise error

    monkeypatch.delenv("CLOUD_ML_JOB_ID", raising=False)
    with pytest.raises(SystemExit) as caught:
        command_line._run_main(main)
    assert caught.value.code == status
    assert capsys.readouterr().err == f"error: {message}\n"

    monkeypatch.setenv("CLOUD_ML_JOB_ID", "1")
    with pytest.raises(SystemExit) as caught:
        command_line._run_main(main)
    assert caught.value.code == status_on_vertex
    entry = json.loads(capsys.readouterr().err)
    assert (entry["severity"], entry["message"]) == ("ERROR", message)


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
