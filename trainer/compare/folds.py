"""The data that models are compared on: one set, or several, such as folds."""

import dataclasses
import os
from collections.abc import Sequence

import tensorflow as tf

from data_prep.dataset.errors import UserError
from data_prep.dataset.manifest import Manifest, is_prepared, read_manifest


@dataclasses.dataclass(frozen=True)
class Fold:
    """Prepared data of a comparison.

    Attributes:
        name: their directory, without what all directories begin with.
        data_dir: their directory.
        output_dir: where the records of the fits to them go.
        manifest: their manifest.
    """

    name: str
    data_dir: str
    output_dir: str
    manifest: Manifest


def find_data(patterns: Sequence[str]) -> list[str]:
    """Lists directories of prepared data.

    Args:
        patterns: directories, or globs, which stand for the prepared data
            among what they match, in the order of the names.

    Raises:
        UserError: a glob matches no prepared data.
    """
    data_dirs = []
    for pattern in patterns:
        if not set(pattern) & set("*?["):
            data_dirs.append(pattern)
            continue
        matches = sorted(filter(is_prepared, tf.io.gfile.glob(pattern)))
        if not matches:
            raise UserError(
                "`data_dir` must name prepared data. None match"
                f" data_dir={pattern}"
            )
        data_dirs += matches
    return data_dirs


def default_output_dir(data_dirs: Sequence[str]) -> str:
    """Returns `compare` in the directory of the data, or beside several.

    Raises:
        UserError: there are several, in different places.
    """
    if len(data_dirs) == 1:
        return os.path.join(data_dirs[0], "compare")
    parents = {os.path.dirname(path.rstrip("/")) for path in data_dirs}
    if len(parents) > 1:
        raise UserError(
            "`output_dir` is missing: the data lie in several directories,"
            f" {', '.join(sorted(parents))}. Give one by --output-dir."
        )
    return os.path.join(*parents, "compare")


def read_folds(data_dirs: Sequence[str], output_dir: str) -> list[Fold]:
    """Reads what describes the data, and checks that they have a mean.

    Args:
        data_dirs: directories of prepared data.
        output_dir: where the comparison goes.

    Raises:
        UserError: a directory is not prepared data, two hold the same data,
            or their ratings are on different scales.
    """
    if not data_dirs:
        raise UserError("`data_dir` must name prepared data. Received none.")
    # These need not exist, nor be local: only their names matter.
    paths = [os.path.abspath(data_dir) for data_dir in data_dirs]
    parent = os.path.commonpath([os.path.dirname(path) for path in paths])
    is_alone = len(data_dirs) == 1
    folds: list[Fold] = []
    for data_dir, path in zip(data_dirs, paths, strict=True):
        name = os.path.relpath(path, parent)
        fold = Fold(
            name,
            data_dir,
            output_dir if is_alone else os.path.join(output_dir, name),
            read_manifest(data_dir),
        )
        for other in folds:
            _check_pair(other, fold)
        folds.append(fold)
    return folds


def _check_pair(first: Fold, second: Fold) -> None:
    if first.manifest.fingerprint == second.manifest.fingerprint:
        raise UserError(
            "`data_dir` must name different data. Received the same twice:"
            f" {first.data_dir}, {second.data_dir}"
        )
    if _scale(first) != _scale(second):
        raise UserError(
            "`data_dir` must name data on the same rating scale. Received"
            f" {first.data_dir} on {_scale(first)},"
            f" {second.data_dir} on {_scale(second)}. Compare on each alone."
        )


def _scale(fold: Fold) -> str:
    return f"{fold.manifest.rating_min:g} to {fold.manifest.rating_max:g}"
