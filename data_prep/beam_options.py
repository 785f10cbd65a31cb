"""Reads the options of a Beam runner from the command line."""

from apache_beam.options.pipeline_options import PipelineOptions

from data_prep.dataset.errors import UserError


def read_options(arguments: list[str]) -> PipelineOptions:
    """Parses the options of the runner.

    Args:
        arguments: the words of the command line that are not flags of the
            command.

    Raises:
        UserError: for an option that Beam does not know.
    """
    options = PipelineOptions(arguments)
    given = options.get_all_options(retain_unknown_options=True)
    unknown = given.keys() - options.get_all_options().keys()
    if unknown:
        raise UserError(
            f"unknown flag --{min(unknown)}: neither this command nor Beam"
            " has it."
        )
    return options
