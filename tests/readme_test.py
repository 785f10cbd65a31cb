"""What the README says about files, flags and code is so."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()


def section(title):
    """The text under a heading of the second level."""
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize(
    "package", ["data_prep", "trainer", "export", "serving"]
)
def test_the_layout_names_every_file_of_a_package(package):
    rows = section("Layout").partition(f"| `{package}/`")[2].splitlines()
    named = set()
    for row in rows[1:]:
        first_cell = row.split("|")[1]
        if "/`" in first_cell:
            break
        named.update(re.findall(r"`(\w+\.py)`", first_cell))
    files = {
        path.name
        for path in (REPOSITORY / package).glob("*.py")
        if path.name != "__init__.py"
    }
    assert named == files


def test_every_flag_of_the_trainer_that_is_named_exists():
    help_text = subprocess.run(
        [sys.executable, "-m", "trainer.task", "--help"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    named = re.findall(
        r"`--([a-z-]+)", section("Flags").partition("\n\nOn Vertex")[0]
    )
    assert named
    for flag in named:
        assert f"--{flag.replace('-', '_')}" in help_text.replace(
            "--[no]", "--"
        ), flag


# Keras says so of every dataset whose size it does not know.
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_the_keras_example_runs(synthetic_data):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    example = example.replace("data/mine", synthetic_data).replace(
        "epochs=10", "epochs=1, shuffle=False, verbose=0"
    )
    names = {}
    exec(compile(example, "README.md", "exec"), names)
    assert "val_rmse" in names["model"].history.history


def test_every_local_link_leads_to_a_file():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (REPOSITORY / target).exists(), target
