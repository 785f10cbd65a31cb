import pytest
from absl import flags
from absl.testing import flagsaver

from data_prep import command_line

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
