"""What the README and the docs say about files, flags and code is so."""

import dataclasses
import re
from pathlib import Path

import pytest

import deep_recommender
from deep_recommender.__main__ import COMMANDS
from trainer.config import Config
from trainer.renamed_settings import RENAMED_SETTINGS

pytestmark = pytest.mark.integration

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("data_prep", "trainer", "export", "serving", "deep_recommender")
PAGES = sorted(
    page
    for pattern in (
        *("*.md", "docs/*.md", "benchmarks/*.md"),
        *("serving/*/*.md", "trainer/*/*.md"),
    )
    for page in REPOSITORY.glob(pattern)
)
README = (REPOSITORY / "README.md").read_text()


def page_ids():
    return [str(page.relative_to(REPOSITORY)) for page in PAGES]


#: Where a module defines a flag, of absl or of argparse.
DEFINITION = re.compile(
    r'(?:DEFINE_\w+|define_path)\(\s*"(\w+)"|add_argument\(\s*"--(\w+)"'
)


def known_flags():
    """The flags of all commands, as their sources define them."""
    flags = {field.name for field in dataclasses.fields(Config)}
    flags |= set(RENAMED_SETTINGS)
    for package in (*PACKAGES, "benchmarks"):
        for path in (REPOSITORY / package).rglob("*.py"):
            for names in DEFINITION.findall(path.read_text()):
                flags |= set(names)
    return flags


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_every_flag_that_the_docs_name_exists():
    flags = known_flags() | {
        # Of the Beam pipeline, its runners and pip.
        *("runner", "project", "region", "temp_location", "setup_file"),
        *("flink_master", "environment_type", "environment_config"),
        *("no_deps", "help", "logdir"),
    }
    for page in [REPOSITORY / "README.md", *REPOSITORY.glob("docs/*.md")]:
        named = re.findall(
            r"(?<![\w-])--([a-z][a-z_-]*[a-z])", page.read_text()
        )
        for flag in named:
            assert flag.replace("-", "_") in flags, f"{page.name}: --{flag}"


def test_every_command_of_the_readme_leads_somewhere():
    named = set(re.findall(r"deep-recommender ([a-z]+)", README))
    assert named - {"demo"}
    assert named <= set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=page_ids())
def test_every_local_link_leads_to_a_file(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_path_in_the_architecture_exists():
    text = (REPOSITORY / "docs/architecture.md").read_text()
    folders = re.findall(r"^\| `([\w/.]+)` \|.*\|(.*)\|$", text, re.MULTILINE)
    assert len(folders) > 10
    for folder, starts in folders:
        assert (REPOSITORY / folder).exists(), folder
        for start in re.findall(r"`([\w.]+)`", starts):
            assert (REPOSITORY / folder / start).exists(), f"{folder}{start}"


def test_every_make_target_that_is_named_exists():
    makefile = (REPOSITORY / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(
            r"\bmake ([a-z-]+)\b(?=[` \n])", page.read_text()
        ):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE) or (
                target in ("it", "up")
            ), f"{page.name}: make {target}"


@pytest.mark.extended
# Keras says so of every dataset whose size it does not know.
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_the_keras_example_runs(synthetic_data):
    page = (REPOSITORY / "docs/model.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    example = example.replace("data/mine", synthetic_data).replace(
        "epochs=10", "epochs=1, shuffle=False, verbose=0"
    )
    names = {}
    exec(compile(example, "docs/model.md", "exec"), names)
    assert "val_rmse" in names["model"].history.history


@pytest.mark.slow
def test_the_example_of_the_readme_runs(tmp_path, monkeypatch):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    example = example.replace(
        'Recommender().fit("movielens-1m")',
        'Recommender("untaught", num_epochs=1)'
        '.fit("movielens-1m", verbose=False)',
    )
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    assert (tmp_path / "models/movielens/1/saved_model.pb").exists()
    assert (tmp_path / "runs/movielens/metrics.json").exists()


def test_the_package_and_its_changelog_have_one_version():
    setup = (REPOSITORY / "setup.py").read_text()
    changelog = (REPOSITORY / "CHANGELOG.md").read_text()
    version = deep_recommender.__version__
    assert f'version="{version}"' in setup
    assert re.findall(r"^## (.*)", changelog, re.MULTILINE)[0] == version
