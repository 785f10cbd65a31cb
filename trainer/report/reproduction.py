"""How to make a job again: versions and commands."""

import dataclasses
import importlib.metadata
import platform
import shlex
from collections.abc import Mapping, Sequence

from data_prep.dataset.manifest import Manifest
from trainer.config import Config
from trainer.recipes import RECIPES, make_config

_PACKAGES = ("deep-recommender", "tensorflow", "keras", "numpy", "numba")


def list_versions(others: Sequence[str] = ()) -> dict[str, str]:
    """Lists the versions of what figures depend on.

    Args:
        others: packages beside those that every job uses.
    """
    versions = {"Python": platform.python_version()}
    for package in (*_PACKAGES, *others):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            # The project runs from its sources, too.
            versions[package] = "not installed"
    return {**versions, "platform": platform.platform()}


def prepare_command(data: Manifest, data_dir: str) -> str:
    """Writes the command that prepares the data of a job.

    Files are named without their directories, which a manifest does not hold.
    """
    flags = {"source": data.source["name"]}
    for name, flag in (("files", "ratings"), ("test_files", "test_ratings")):
        if files := data.source.get(name):
            flags[flag] = ",".join(file["name"] for file in files)
    for name, value in data.split.items():
        if name not in ("name", "cuts") and value is not None:
            flags[name] = value
    flags |= {
        "split": data.split["name"],
        "seed": data.seed,
        "output_dir": data_dir,
    }
    return write_command("data_prep.task", flags)


def train_command(
    config: Config, num_users: int, job_dir: str, data_dir: str
) -> str:
    """Writes the command that trains a job: a recipe, and what differs."""
    settings = dataclasses.asdict(config)
    changes = {}
    for name in RECIPES:
        recipe = dataclasses.asdict(make_config(name, {}, num_users))
        changes[name] = {
            setting: value
            for setting, value in settings.items()
            if value != recipe[setting]
        }
    recipe_name = min(changes, key=lambda name: len(changes[name]))
    return write_command(
        "trainer.task",
        {
            "job_dir": job_dir,
            "data_dir": data_dir,
            "recipe": recipe_name,
            **changes[recipe_name],
        },
    )


def write_command(module: str, flags: Mapping[str, object]) -> str:
    """Writes a command with its flags, one per line."""
    parts = [f"python -m {module}"]
    for name, value in flags.items():
        text = (
            ",".join(map(str, value))
            if isinstance(value, tuple)
            else str(value)
        )
        parts.append(f"--{name.replace('_', '-')}={shlex.quote(text)}")
    return " \\\n    ".join(parts)
