"""The rules that keep data flowing one way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("data_prep", "trainer", "export", "serving")

#: What each package may import of its siblings.
ALLOWED = {
    "data_prep": {"data_prep"},
    "trainer": {"trainer", "data_prep"},
    "export": {"export", "trainer", "data_prep", "serving.protocol"},
    "serving": {"serving"},
}

#: The composition root of the job, the one file that may call all packages.
COMPOSITION_ROOT = REPOSITORY / "trainer/task.py"

#: The files that may read flags, and the one that says how.
FLAG_READERS = {
    *(f"{package}/task.py" for package in PACKAGES),
    "data_prep/command_line.py",
}

COMMANDS = (
    "data_prep.task",
    "trainer.task",
    "export.task",
    "serving.local_server",
    "serving.client",
    "serving.demo",
)


def source_files(package):
    return sorted((REPOSITORY / package).rglob("*.py"))


def imports_of(path):
    """Names of the modules, and of what is taken from them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_follow_the_data_and_never_turn_back(package):
    for path in source_files(package):
        if path == COMPOSITION_ROOT:
            continue
        for name in imports_of(path):
            if name.split(".")[0] not in PACKAGES or name == "serving":
                continue
            assert any(
                name == allowed or name.startswith(allowed + ".")
                for allowed in ALLOWED[package]
            ), f"{path.relative_to(REPOSITORY)} imports {name}"


def test_libraries_do_not_read_flags():
    for package in PACKAGES:
        for path in source_files(package):
            name = str(path.relative_to(REPOSITORY))
            if name not in FLAG_READERS:
                assert not {
                    imported
                    for imported in imports_of(path)
                    if imported.startswith(("absl.flags", "absl.app"))
                }, name


def test_no_source_imports_the_tests():
    for package in PACKAGES:
        for path in source_files(package):
            assert not any(
                name.split(".")[0] == "tests" for name in imports_of(path)
            ), path


@pytest.mark.parametrize("module", ["serving.client", "serving.protocol"])
def test_a_client_needs_the_standard_library_only(module):
    code = f"import sys, {module}; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    roots = {name.split(".")[0] for name in result.stdout.split()}
    assert not roots & {"tensorflow", "numpy", "keras", "absl", "grpc"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    result = subprocess.run(
        [sys.executable, "-m", command, "--help"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in result.stderr
    assert "--" in result.stdout
    help_text = result.stdout
    if command == "trainer.task":
        for flag in ("--job_dir", "--data_dir", "--recipe", "--hidden_units"):
            assert flag in help_text
