"""Check a table against a schema of pandera, and report all violations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import pandera.pandas as pandera

from kfgcp_components.data.validate_table.series import to_series
from kfgcp_components.messages import one_line
from kfgcp_components.table_file import TableFile

# The number of rows that a report shows for each violation.
MAX_EXAMPLES = 5


@dataclass(frozen=True)
class Example:
    """A row that violates a check: its number, from 0, and the value. No row means the column."""

    row: int | None
    value: str


@dataclass(frozen=True)
class Violation:
    """A check that fails.

    Attributes:
        column: the name of the column. Empty for a check of several columns.
        check: the check, in pandera's words.
        count: the number of rows that fail, or 1 for the column as a whole.
        examples: the first of these rows.
    """

    column: str
    check: str
    count: int
    examples: list[Example]

    def __str__(self) -> str:
        """Return one line for people."""
        place = f"column {self.column!r}: " if self.column else ""
        texts = []
        for example in self.examples:
            row = "" if example.row is None else f"row {example.row}: "
            texts.append(f"{row}{example.value}")
        rows = "row" if self.count == 1 else "rows"
        count = f" in {self.count} {rows}" if self.examples[0].row is not None else ""
        return f"{place}{self.check} fails{count} ({', '.join(texts)})"


@dataclass(frozen=True)
class ValidationReport:
    """The result: the number of rows of the table, and its violations."""

    rows: int
    violations: list[Violation]

    @property
    def valid(self) -> bool:
        """Whether the table fits the schema."""
        return not self.violations


def validate(table: TableFile, schema: pandera.DataFrameSchema) -> ValidationReport:
    """Check a table against a schema. Each column is read by itself.

    A column that the schema describes with a type of pandas is converted to this type if that loses
    nothing. See the module `series`.
    """
    violations = list(_check_names(table, schema))
    for name, column in _match_columns(table, schema):
        violations += _check_column(table, name, column)
    violations += _check_several_columns(table, schema)
    return ValidationReport(table.rows, violations)


def write_violations(report: ValidationReport, path: str | Path) -> None:
    """Write a report as JSON."""
    content = {"format": "kfgcp-validation-1", "valid": report.valid, **asdict(report)}
    Path(path).write_text(json.dumps(content), encoding="utf-8")


def summarize(report: ValidationReport) -> str:
    """Return the violations in one line, for an error message."""
    count = len(report.violations)
    first = "; ".join(str(violation) for violation in report.violations[:3])
    more = f"; and {count - 3} more" if count > 3 else ""
    return one_line(f"the table does not fit the schema: {first}{more}", 1000)


def _check_names(table: TableFile, schema: pandera.DataFrameSchema) -> Iterator[Violation]:
    """Check which columns exist, and their order, with a frame without rows."""
    columns = {
        name: pandera.Column(required=column.required, regex=column.regex)
        for name, column in schema.columns.items()
    }
    # With the value "filter", pandera removes other columns without a complaint.
    names_schema = pandera.DataFrameSchema(
        columns, strict=schema.strict is True, ordered=schema.ordered
    )
    return _run(names_schema, pd.DataFrame(columns=table.names))


def _match_columns(
    table: TableFile, schema: pandera.DataFrameSchema
) -> Iterator[tuple[str, pandera.Column]]:
    """Return each column of the table that the schema describes, with its description."""
    no_rows = pd.DataFrame(columns=table.names)
    for name, column in schema.columns.items():
        names = [name] if name in table.names else []
        if column.regex:
            names = list(column.get_regex_columns(no_rows))
        for matched_name in names:
            dtype = schema.dtype or column.dtype
            yield (
                matched_name,
                pandera.Column(
                    dtype,
                    checks=column.checks,
                    nullable=column.nullable,
                    unique=column.unique,
                    coerce=column.coerce or schema.coerce,
                    report_duplicates=column.report_duplicates,
                ),
            )


def _check_column(table: TableFile, name: str, column: pandera.Column) -> Iterator[Violation]:
    dtype = str(column.dtype) if column.dtype else ""
    series, dtype = to_series(table.read(name), dtype)
    if dtype:
        column.dtype = dtype
    frame = pd.DataFrame({name: series}, copy=False)
    return _run(pandera.DataFrameSchema({name: column}), frame)


def _check_several_columns(
    table: TableFile, schema: pandera.DataFrameSchema
) -> Iterator[Violation]:
    """Check what the schema says about the whole table, with only the columns that it needs."""
    names: list[str] = []
    if schema.checks:
        names = table.names
    elif schema.unique:
        names = [name for name in schema.unique if name in table.names]
    if not names or not set(schema.unique or []) <= set(names):
        return iter(())
    frame = pd.DataFrame({name: table.read(name).to_pandas() for name in names})
    whole = pandera.DataFrameSchema(
        checks=schema.checks, unique=schema.unique, report_duplicates=schema.report_duplicates
    )
    return _run(whole, frame)


def _run(schema: pandera.DataFrameSchema, frame: pd.DataFrame) -> Iterator[Violation]:
    """Return a violation for each check that fails."""
    try:
        schema.validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        # pandera writes NaN where a failure has no column, row or number.
        failures = errors.failure_cases.astype(object)
        groups = failures.groupby(["column", "check", "check_number"], dropna=False, sort=False)
        return iter([_to_violation(key, group) for key, group in groups])
    return iter(())


def _to_violation(key: tuple[object, object, object], failures: pd.DataFrame) -> Violation:
    column, check, _ = key
    examples = []
    count = failures["index"].nunique(dropna=False)
    for _, failure in failures.drop_duplicates("index").head(MAX_EXAMPLES).iterrows():
        row = None if pd.isna(failure["index"]) else int(failure["index"])
        examples.append(Example(row, one_line(repr(failure["failure_case"]), 100)))
    name = column if isinstance(column, str) else ""
    return Violation(name, str(check), int(count), examples)
