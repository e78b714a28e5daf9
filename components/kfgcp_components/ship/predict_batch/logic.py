"""Predict the rows of a table, a batch after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from kfgcp_components.messages import did_you_mean, format_names, one_line
from kfgcp_components.models import TableModel
from kfgcp_components.models.model import require_columns
from kfgcp_components.outputs import write_files
from kfgcp_components.table_file import arrow_kind
from kfgcp_components.tables import reject_duplicates

# Rows that are in memory at once. A batch of 50 columns of numbers has about 40 MB.
BATCH_ROWS = 100_000


@dataclass(frozen=True)
class Predicted:
    """What was written. columns: the columns that were added to those of the table."""

    rows: int
    columns: list[str]


def predict_table(
    model: TableModel,
    source: Path,
    target: Path,
    *,
    keep_columns: Sequence[str] = (),
    prediction_column: str = "prediction",
    probabilities: bool = True,
    batch_rows: int = BATCH_ROWS,
) -> Predicted:
    """Write a table with a prediction for each row of another table, in the same order.

    Args:
        model: the model.
        source: the Parquet file with the rows.
        target: the Parquet file to write. It appears only when it is complete.
        keep_columns: the columns of the rows that the new table has too. Empty for all.
        prediction_column: the name of the new column.
        probabilities: whether a classifier also writes the probability of each class, as
            `probability_CLASS`.
        batch_rows: how many rows are in memory at once.

    Raises:
        ValueError: the file is not a Parquet file, lacks a column, has a column with a new name,
            or has values that the model cannot use.
    """
    try:
        file = pq.ParquetFile(source)
    except pa.ArrowException as error:
        raise ValueError(f"{source} is not readable as Parquet: {one_line(error)}") from error
    with file:
        names = file.schema_arrow.names
        reject_duplicates(names, str(source))
        require_columns(model.columns, names)
        _require_numbers(model, file.schema_arrow)
        kept_names = _choose_columns(names, keep_columns)
        new_columns = [prediction_column]
        if probabilities:
            new_columns += [f"probability_{label}" for label in model.classes or []]
        if prediction_column in new_columns[1:]:
            raise ValueError(
                f"{prediction_column!r} is also the column of a probability; choose another"
                " prediction_column, or set probabilities=False"
            )
        clashes = [name for name in new_columns if name in kept_names]
        if clashes:
            raise ValueError(
                f"the table already has the column {format_names(clashes)}; choose another"
                " prediction_column, or leave the column out with keep_columns"
            )
        schema = _output_schema(model, file.schema_arrow, kept_names, new_columns)
        rows = 0
        with write_files(target) as (unfinished,), pq.ParquetWriter(unfinished, schema) as writer:
            for batch in file.iter_batches(batch_rows):
                arrow_table = pa.Table.from_batches([batch])
                writer.write_table(_predict_batch(model, arrow_table, schema, new_columns))
                rows += batch.num_rows
    return Predicted(rows, new_columns)


def _require_numbers(model: TableModel, schema: pa.Schema) -> None:
    """Check the types of numeric columns, also in a table without rows.

    A batch of text can have some numbers in it. The other values would count as missing.
    """
    for name, kind in model.columns.items():
        table_kind = arrow_kind(schema.field(name).type)
        if kind == "numeric" and table_kind not in ("numeric", "boolean", "empty"):
            raise ValueError(
                f"the model was trained with numbers in the column {one_line(name, 60)!r}, and the"
                f" table has {table_kind} there; give the table the types of the training set"
            )


def _choose_columns(names: Sequence[str], keep_columns: Sequence[str]) -> list[str]:
    unknown = [name for name in keep_columns if name not in names]
    if unknown:
        hint = did_you_mean(unknown[0], names)
        raise ValueError(f"the table has no column {unknown[0]!r} to keep.{hint}")
    return [name for name in names if not keep_columns or name in keep_columns]


def _output_schema(
    model: TableModel, table_schema: pa.Schema, kept_names: Sequence[str], new_columns: list[str]
) -> pa.Schema:
    """Return the columns of the new table. The first new column is the prediction."""
    fields = [table_schema.field(name).remove_metadata() for name in kept_names]
    prediction, *probabilities = new_columns
    fields.append(pa.field(prediction, _prediction_type(model)))
    fields += [pa.field(name, pa.float64()) for name in probabilities]
    return pa.schema(fields)


def _prediction_type(model: TableModel) -> pa.DataType:
    if model.classes is None:
        return pa.float64()
    return pa.array(model.classes).type


def _predict_batch(
    model: TableModel, rows: pa.Table, schema: pa.Schema, new_columns: Sequence[str]
) -> pa.Table:
    """Return some rows of the new table."""
    # With the metadata of pandas, a stored index would not stay an ordinary column.
    frame: pd.DataFrame = rows.to_pandas(ignore_metadata=True)
    columns = [rows.column(name) for name in schema.names if name not in new_columns]
    prediction_type = schema.field(new_columns[0]).type
    columns.append(pa.array(model.predict(frame).tolist(), prediction_type))
    if len(new_columns) > 1:
        table_of_classes = model.predict_proba(frame)
        if table_of_classes is None:
            raise ValueError("the model gives no probabilities; set probabilities=False")
        columns += [pa.array(table_of_classes[label]) for label in table_of_classes.columns]
    return pa.table(columns, schema=schema)
