"""Finds the ratings that Vertex AI hands to a job with a managed dataset."""

import os
from collections.abc import Mapping
from typing import NamedTuple

from data_prep.dataset.errors import UserError

_TRAINING = "AIP_TRAINING_DATA_URI"
_VALIDATION = "AIP_VALIDATION_DATA_URI"
_TEST = "AIP_TEST_DATA_URI"
_FORMAT = "AIP_DATA_FORMAT"


class ManagedDataset(NamedTuple):
    """The files of a managed dataset, as `data_prep` takes them.

    Attributes:
        ratings: the ratings to train and validate on.
        test_ratings: the ratings to test with; `None` if the service holds
            none out.
    """

    ratings: str
    test_ratings: str | None


def find_managed_dataset(
    environ: Mapping[str, str] = os.environ,
) -> ManagedDataset | None:
    """Returns the managed dataset of this job, or `None` if it has none.

    The service divides the rows of a table into files for training, validation
    and test, of which it names a glob each.

    Reference:
        https://cloud.google.com/vertex-ai/docs/training/using-managed-datasets

    Args:
        environ: the environment variables.

    Raises:
        UserError: if the dataset is not of CSV files.
    """
    training = environ.get(_TRAINING)
    if not training:
        return None
    data_format = environ.get(_FORMAT, "csv")
    if data_format != "csv":
        raise UserError(
            "the managed dataset must be a table of CSV files. Received:"
            f" {_FORMAT}={data_format}, {_TRAINING}={training}. Export it as"
            " CSV files, or prepare it and name the data with --data-dir."
        )
    validation = environ.get(_VALIDATION)
    return ManagedDataset(
        ratings=f"{training},{validation}" if validation else training,
        test_ratings=environ.get(_TEST) or None,
    )
