"""Writes tables as Parquet, JSON lines or CSV, some rows at a time."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq


def write_parquet(
    tables: Iterable[pa.Table], schema: pa.Schema, file: Any
) -> None:
    """Writes Parquet."""
    with pq.ParquetWriter(file, schema) as writer:
        for table in tables:
            writer.write_table(table)


def write_csv(tables: Iterable[pa.Table], schema: pa.Schema, file: Any) -> None:
    """Writes CSV with a header; texts are in quotes."""
    with pa.csv.CSVWriter(file, schema) as writer:
        for table in tables:
            writer.write_table(table)


def write_jsonl(
    tables: Iterable[pa.Table], schema: pa.Schema, file: Any
) -> None:
    """Writes an object per line."""
    names = [json.dumps(name) for name in schema.names]
    template = "{" + ", ".join(f"{name}: %s" for name in names) + "}\n"
    for table in tables:
        columns = [_to_json(column) for column in table.columns]
        lines = (template % row for row in zip(*columns, strict=True))
        file.write("".join(lines).encode())


def _to_json(column: pa.ChunkedArray) -> list[str]:
    if pa.types.is_string(column.type):
        return [
            json.dumps(text, ensure_ascii=False) for text in column.to_pylist()
        ]
    # The shortest text that reads back as the same number, or true and false.
    texts: list[str] = pc.cast(column, pa.string()).to_pylist()
    return texts


#: Name of a format, which is also the ending of its files -> what writes it.
FORMATS: dict[str, Callable[[Iterable[pa.Table], pa.Schema, Any], None]] = {
    "parquet": write_parquet,
    "jsonl": write_jsonl,
    "csv": write_csv,
}
