"""The manifest of prepared data: source, split, counts and digests."""

import dataclasses
import hashlib
from typing import Any

import tensorflow as tf

from data_prep.dataset.errors import UserError
from data_prep.dataset.files import read_json, to_json, write_json

FILE_NAME = "manifest.json"
SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Describes one directory of prepared data.

    The manifest is written last: a directory without one is not prepared
    data.

    Args:
        source: the data set's name and what identifies its content, such as
            a digest or a version.
        split: the split's name, its parameters, and under `cuts` the dates
            derived from the data.
        seed: the seed of the split.
        num_shards: the number of record files.
        num_users: users with at least one training rating.
        num_items: items with at least one training rating.
        num_ratings: ratings kept, by subset (`train`, `validation`, `test`).
        rows_read: rows of the source.
        rows_dropped: valid rows left out, by reason.
        rating_min: the lowest rating of the source, kept or not.
        rating_max: the highest rating of the source, kept or not.
        rating_mean: the mean training rating.
        digests: SHA-256 of every other file, by its path in the directory.
        options: the optional settings that are not the default.
        rows_rejected: invalid rows, by reason.
        published_counts: for a split with published counts, the `expected`
            and the `actual` ones.
        num_cold_ratings: held-out ratings of items without training ratings,
            by subset; they are not in `num_ratings`. Empty in data that a
            version up to 0.1 prepared, which left them out.
        schema_version: the version of this manifest and of the records.
    """

    source: dict[str, Any]
    split: dict[str, Any]
    seed: int
    num_shards: int
    num_users: int
    num_items: int
    num_ratings: dict[str, int]
    rows_read: int
    rows_dropped: dict[str, int]
    rating_min: float
    rating_max: float
    rating_mean: float
    digests: dict[str, str]
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    rows_rejected: dict[str, int] = dataclasses.field(default_factory=dict)
    published_counts: dict[str, dict[str, int]] = dataclasses.field(
        default_factory=dict
    )
    num_cold_ratings: dict[str, int] = dataclasses.field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @property
    def fingerprint(self) -> str:
        """A hash of the manifest: 16 hexadecimal digits."""
        content = dataclasses.asdict(self)
        if not any(self.num_cold_ratings.values()):
            # The same data of an earlier version has the same fingerprint.
            del content["num_cold_ratings"]
        return hashlib.sha256(to_json(content).encode()).hexdigest()[:16]


_ALL = {field.name for field in dataclasses.fields(Manifest)}
_REQUIRED = {
    field.name
    for field in dataclasses.fields(Manifest)
    if field.default is field.default_factory is dataclasses.MISSING
}


def is_prepared(data_dir: str) -> bool:
    """Returns whether `data_dir` holds a manifest."""
    return bool(tf.io.gfile.exists(_manifest_path(data_dir)))


def read_manifest(data_dir: str) -> Manifest:
    """Reads the manifest of prepared data.

    Raises:
        UserError: if the directory has no manifest, or one that this version
            cannot read.
    """
    path = _manifest_path(data_dir)
    try:
        fields = read_json(path)
    except (tf.errors.NotFoundError, tf.errors.FailedPreconditionError):
        raise UserError(
            f"{data_dir} is not prepared data: it has no {FILE_NAME}. Run"
            " `python -m data_prep.task --source NAME --split NAME"
            f" --output-dir {data_dir}`."
        ) from None
    except tf.errors.UnimplementedError:
        raise UserError(
            f"{data_dir}: the file system {data_dir.partition('://')[0]}:// is"
            " not read. Copy the directory to this machine, or to gs://."
        ) from None
    except ValueError as error:
        raise UserError(
            f"{path} is not readable JSON ({error}). Remove it and prepare"
            " the data again."
        ) from error
    if not (
        isinstance(fields, dict)
        and fields.get("schema_version") == SCHEMA_VERSION
        and _REQUIRED <= fields.keys() <= _ALL
    ):
        raise UserError(
            f"{path} was not written by this version, which writes"
            f" schema_version={SCHEMA_VERSION}. Remove {data_dir} and prepare"
            " the data again."
        )
    return Manifest(**fields)


def write_manifest(manifest: Manifest, data_dir: str) -> None:
    """Writes the manifest atomically."""
    write_json(_manifest_path(data_dir), dataclasses.asdict(manifest))


def _manifest_path(data_dir: str) -> str:
    return str(tf.io.gfile.join(data_dir, FILE_NAME))
