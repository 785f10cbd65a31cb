"""Scores all users of prepared data on an Apache Beam runner."""

from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from data_prep.dataset.items import read_items
from export.scoring.answerers import Answerer
from export.scoring.exported_model import ExportedModel
from export.scoring.histories import read_histories
from export.scoring.output import Output
from export.scoring.scoring import (
    Shard,
    begin,
    list_missing_shards,
    score_shard,
)


def score_on_beam(
    version_dir: str,
    make_answerer: Callable[[ExportedModel], Answerer],
    data_dir: str,
    output_dir: str,
    format_: str,
    options: PipelineOptions,
) -> Output:
    """Writes an exported model's answers to all users of prepared data.

    Writes the same files as `export.scoring.scoring.score`.

    Args:
        version_dir: the directory of the SavedModel.
        make_answerer: makes what answers of a model.
        data_dir: the prepared data.
        output_dir: a new or empty directory, or that of a killed run.
        format_: a key of `formats.FORMATS`.
        options: the options of the runner.

    Returns:
        The output, complete.

    Raises:
        UserError: as `export.scoring.scoring.score` does.
    """
    answerer = make_answerer(ExportedModel(version_dir))
    output = begin(answerer, data_dir, output_dir, format_)
    if output.is_complete:
        return output
    with beam.Pipeline(options=options) as pipeline:
        _ = (
            pipeline
            | "Shards"
            >> beam.Create(list_missing_shards(data_dir, output, format_))
            | "Spread" >> beam.Reshuffle()
            | "Score"
            >> beam.ParDo(_Score(version_dir, make_answerer, data_dir, output))
            | "All shards" >> beam.combiners.ToDict()
            | "Record" >> beam.Map(_record, output)
        )
    # What the workers recorded.
    output = Output(output.directory, output.request)
    output.complete()
    return output


class _Score(beam.DoFn):
    """Writes the answers to the users of a record file."""

    def __init__(
        self,
        version_dir: str,
        make_answerer: Callable[[ExportedModel], Answerer],
        data_dir: str,
        output: Output,
    ) -> None:
        self._version_dir = version_dir
        self._make_answerer = make_answerer
        self._data_dir = data_dir
        self._output = output

    def setup(self) -> None:
        """Loads what all record files need, once per worker."""
        self._answerer = self._make_answerer(ExportedModel(self._version_dir))
        self._item_ids = read_items(self._data_dir).item_ids

    def process(self, element: Shard) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields the name of the output file and what to record of it."""
        histories = read_histories(element.records, self._item_ids)
        yield (
            element.name,
            score_shard(self._answerer, element, histories, self._output),
        )


def _record(shards: dict[str, dict[str, Any]], output: Output) -> None:
    output.record(shards)
