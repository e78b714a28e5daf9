"""Check a table against a schema of pandera, and report all violations."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import pandas as pd
import pandera.pandas as pandera

from kfgcp_components.data.validate_table.series import to_series
from kfgcp_components.messages import did_you_mean, one_line
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

    Raises:
        ValueError: `unique` of the schema names a column that neither the schema nor the table has.
    """
    unique_groups = _read_unique(table, schema)
    violations = list(_check_names(table, schema))
    for name, column in _match_columns(table, schema):
        violations += _check_column(table, name, column)
    violations += _check_rows(table, schema)
    for names in unique_groups:
        violations += _check_unique(table, names, schema)
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
    for name, column in schema.columns.items():
        names = [name] if name in table.names else []
        if column.regex:
            # get_regex_columns of pandera raises an error when no column matches.
            names = [table_name for table_name in table.names if re.match(name, table_name)]
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


def _read_unique(table: TableFile, schema: pandera.DataFrameSchema) -> list[list[str]]:
    """Return the groups of columns whose values must be unique together.

    pandera takes a list of names for one group, and a list of lists for several groups.

    Raises:
        ValueError: neither the schema nor the table has a column of a group. pandera ignores such a
            name, so a typing error would accept each table.
    """
    groups: list[list[str]] = [list(schema.unique or [])]
    if any(not isinstance(name, str) for name in groups[0]):
        groups = schema.unique
    patterns = [name for name, column in schema.columns.items() if column.regex]
    candidates = list(schema.columns) + list(table.names)
    for name in chain.from_iterable(groups):
        matches_pattern = any(re.match(pattern, name) for pattern in patterns)
        if name not in candidates and not matches_pattern:
            hint = did_you_mean(name, candidates)
            raise ValueError(
                f"unique of the schema names the column {one_line(name, 60)!r}, which neither the"
                f" schema nor the table has.{hint}"
            )
    return groups


def _check_rows(table: TableFile, schema: pandera.DataFrameSchema) -> Iterator[Violation]:
    """Run the checks of the schema that see whole rows."""
    if not schema.checks:
        return iter(())
    return _run(pandera.DataFrameSchema(checks=schema.checks), _to_frame(table, table.names))


def _check_unique(
    table: TableFile, names: Iterable[str], schema: pandera.DataFrameSchema
) -> Iterator[Violation]:
    """Check that the values of some columns are unique together.

    A column that the table lacks does not count, as in pandera. When it is required, the check of
    names reports it.
    """
    existing_names = [name for name in names if name in table.names]
    if not existing_names:
        return iter(())
    unique_schema = pandera.DataFrameSchema(
        unique=existing_names, report_duplicates=schema.report_duplicates
    )
    return _run(unique_schema, _to_frame(table, existing_names))


def _to_frame(table: TableFile, names: Iterable[str]) -> pd.DataFrame:
    return pd.DataFrame({name: table.read(name).to_pandas() for name in names})


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
