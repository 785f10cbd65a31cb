"""The rules that keep data flowing one way."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGES = (
    "tensorflow_startup",
    "data_prep",
    "trainer",
    "export",
    "serving",
    "deep_recommender",
)

#: What each package may import of the project.
ALLOWED = {
    "tensorflow_startup": set(),
    "data_prep": {"data_prep"},
    "trainer": {"trainer", "data_prep.dataset"},
    "export": {"export", "trainer", "data_prep.dataset", "serving.protocol"},
    "serving": {"serving"},
    "deep_recommender": set(PACKAGES),
}

#: The files that start a process that loads TensorFlow.
STARTERS = {
    "data_prep/command_line.py",
    "deep_recommender/__init__.py",
    "serving/local_server/__main__.py",
    "trainer/training/child_process.py",
}

#: What a file may import besides: the commands start alike, the job prepares
#: data first and exports in the end, and scoring reads people's files.
ALSO_ALLOWED = {
    "trainer/task.py": {"data_prep", "export"},
    "trainer/compare/__main__.py": {"data_prep.command_line"},
    "trainer/search/__main__.py": {"data_prep.command_line"},
    "export/task.py": {"data_prep.command_line"},
    "export/score.py": {"data_prep"},
    "export/score_on_beam.py": {"data_prep"},
    "trainer/evaluate.py": {"data_prep.command_line"},
}

#: The files that may read flags, and the one that says how.
FLAG_READERS = {
    *(f"{package}/task.py" for package in PACKAGES),
    "trainer/compare/__main__.py",
    "trainer/search/__main__.py",
    "data_prep/command_line.py",
    "data_prep/file_flags.py",
    "export/score.py",
    "trainer/evaluate.py",
}

#: The folders of a package, each above those that it may import.
LAYERS = {
    "data_prep": ("dataset", "rules", "readers", "sources splits", "engine"),
    "trainer": (
        *("input", "model", "evaluation teachers", "job", "report"),
        *("training", "compare search"),
    ),
}


def source_files(package):
    return sorted((REPOSITORY / package).rglob("*.py"))


@functools.cache
def imports_of(path):
    """Names of the modules, and of what is taken from them."""
    return imports_in(path.read_text())


def imports_in(source):
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def is_within(name, allowed):
    return any(
        name == prefix or name.startswith(f"{prefix}.") for prefix in allowed
    )


def forbidden_imports(file, names):
    """Those of the imported names that a file must not import."""
    allowed = ALLOWED[file.split("/")[0]] | ALSO_ALLOWED.get(file, set())
    if file in STARTERS:
        allowed = allowed | {"tensorflow_startup"}
    return [
        name
        for name in names
        if name.split(".")[0] in PACKAGES and not is_within(name, allowed)
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_follow_the_data_and_never_turn_back(package):
    for path in source_files(package):
        file = path.relative_to(REPOSITORY).as_posix()
        assert not forbidden_imports(file, imports_of(path)), file


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("data_prep/prepare.py", "from trainer.config import Config"),
        (
            "trainer/training/train.py",
            "from data_prep.engine.stages import Stages",
        ),
        ("trainer/training/train.py", "from data_prep.prepare import prepare"),
        ("trainer/training/train.py", "import data_prep.command_line"),
        ("trainer/config.py", "def f():\n    import export.settings"),
        ("export/settings.py", "from data_prep import command_line"),
        ("export/settings.py", "from serving.client import Client"),
        ("export/settings.py", "import tensorflow_startup"),
        ("serving/client/client.py", "from data_prep.dataset import files"),
    ],
)
def test_an_import_against_the_flow_is_found(file, source):
    assert forbidden_imports(file, imports_in(source))


@pytest.mark.parametrize("package", LAYERS)
def test_the_folders_of_a_package_are_layers(package):
    layers = [layer.split() for layer in LAYERS[package]]
    folders = {folder for layer in layers for folder in layer}
    lower = set()
    for layer in layers:
        for folder in layer:
            forbidden = {
                f"{package}.{name}" for name in folders - lower - {folder}
            }
            for path in source_files(f"{package}/{folder}"):
                for name in imports_of(path):
                    assert not is_within(name, forbidden), f"{path}: {name}"
        lower.update(layer)


@pytest.mark.parametrize("package", LAYERS)
def test_every_folder_of_sources_has_a_layer(package):
    layers = {folder for layer in LAYERS[package] for folder in layer.split()}
    assert layers == {
        path.parent.name for path in REPOSITORY.glob(f"{package}/*/__init__.py")
    }


@pytest.mark.extended
def test_training_loads_nothing_of_the_preparation_but_its_contract():
    modules = "trainer.training.train, export.saved_model"
    code = f"import sys, {modules}; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {
        name for name in result.stdout.split() if name.startswith("data_prep.")
    }
    assert loaded
    assert all(is_within(name, {"data_prep.dataset"}) for name in loaded), (
        loaded
    )


def test_libraries_do_not_read_flags():
    for package in PACKAGES:
        for path in source_files(package):
            name = path.relative_to(REPOSITORY).as_posix()
            if name not in FLAG_READERS:
                assert not any(
                    is_within(imported, {"absl.flags", "absl.app"})
                    for imported in imports_of(path)
                ), name


def test_no_source_imports_the_tests():
    for package in PACKAGES:
        for path in source_files(package):
            assert not any(
                is_within(name, {"tests", "benchmarks"})
                for name in imports_of(path)
            ), path


@pytest.mark.parametrize(
    "module",
    [
        "serving.client",
        "serving.protocol",
        "deep_recommender",
        "deep_recommender.__main__",
    ],
)
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
