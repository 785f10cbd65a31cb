"""The request for prepared data, and whether it is fulfilled already."""

import dataclasses
from typing import Any

from absl import logging

from data_prep.dataset.errors import UserError
from data_prep.dataset.manifest import Manifest, is_prepared, read_manifest
from data_prep.options import Options
from data_prep.sources.source import Source
from data_prep.splits.base import Split


@dataclasses.dataclass(frozen=True)
class Request:
    """All that determines the content of prepared data.

    Args:
        source: the source of the ratings.
        split: the split.
        seed: the seed of random choices.
        num_shards: the number of record files.
        options: the optional settings.
    """

    source: Source
    split: Split
    seed: int
    num_shards: int
    options: Options

    def __post_init__(self) -> None:
        if self.num_shards < 1:
            raise UserError(
                f"--num-shards must be at least 1. Received: {self.num_shards}"
            )
        has_test_ratings = self.source.has_test_ratings()
        if self.split.needs_test_ratings and not has_test_ratings:
            raise UserError(
                f"split {self.split.name} needs --test-ratings, the files"
                " published as the test set."
            )
        if has_test_ratings and not self.split.needs_test_ratings:
            raise UserError(
                f"split {self.split.name} does not use --test-ratings: --split"
                " fold does."
            )

    def describe(self) -> dict[str, Any]:
        """Returns the request as the manifest records it."""
        return {
            "source": self.source.describe(),
            "split": self.split.describe(),
            "seed": self.seed,
            "num_shards": self.num_shards,
            "options": self.options.describe(),
        }


def find_prepared(request: Request, output_dir: str) -> Manifest | None:
    """Returns the manifest if the directory holds the requested data already.

    Raises:
        UserError: if the directory holds other prepared data.
    """
    if not is_prepared(output_dir):
        return None
    manifest = read_manifest(output_dir)
    expected = request.describe()
    actual = {name: getattr(manifest, name) for name in expected}
    actual["split"] = {k: v for k, v in manifest.split.items() if k != "cuts"}
    for name, value in expected.items():
        if actual[name] != value:
            raise UserError(
                f"{output_dir} holds other prepared data: its {name} is"
                f" {actual[name]}, not {value}. Choose another directory, or"
                " remove this one."
            )
    logging.info("%s is prepared already.", output_dir)
    return manifest
