"""The component `validate_table`: whether a table fits a schema of pandera.

The schema is what `DataFrameSchema.to_json()` of [pandera](https://pandera.readthedocs.io) writes.
Give it as text in the pipeline, or as an artifact, or let the component infer one:

```python
validate_table(table=table, schema=json.loads(Path("schema.json").read_text()))
```

All checks run, and the report has each check that fails, with the number of rows and the first 5 of
them. `fail=False` lets the pipeline decide with the output `valid`.

`infer=True` writes a schema that fits the table to `used_schema`: the types, which columns may have
missing values, and the values of text columns with up to 20 different ones. Read it, add what you
know, and keep it with your code.

A type of the schema means the values: `int64` with `nullable` accepts missing values, and times may
have another unit. `object`, `str`, `string`, `string[python]` and `string[pyarrow]` all mean text,
because pandas 2 and pandas 3 name the same column differently.

## Limits

- A key, check or type that pandera does not know is an error. pandera itself ignores wrong keys.
- JSON has no checks with code of your own, and a table as Parquet has no index.
- The component reads one column at a time. Checks of several columns need the memory of these.
- A failed task may lose its report on some backends. The error message has the first 3 checks, and
  the log has all.
- The report contains values of the table. Protect it like the table.
"""

from typing import NamedTuple, Optional

from kfp import dsl


@dsl.component(base_image="tabular", install_kfp_package=False)  # type: ignore[untyped-decorator]
def validate_table(
    table: dsl.Input[dsl.Dataset],
    violations: dsl.Output[dsl.Artifact],
    used_schema: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    # A plain dict, because kfp before 2.15 takes dict[str, Any] for the name of an artifact type.
    schema: dict = {},  # type: ignore[type-arg]  # noqa: B006 - KFP takes the default from here
    schema_file: Optional[dsl.Input[dsl.Artifact]] = None,  # noqa: UP045 - KFP does not know `|`
    infer: bool = False,
    fail: bool = True,
) -> NamedTuple("Outputs", valid=bool):  # type: ignore[valid-type]
    """Check a table against a schema of pandera, and report all violations.

    Args:
        table: The table, as Parquet.
        schema: The schema, as the JSON of pandera's DataFrameSchema.to_json.
        schema_file: The schema as a file with this JSON, instead of `schema`.
        infer: Whether to infer the schema from the table, instead of giving one.
        fail: Whether the task fails if the table does not fit.
        violations: The checks that fail, as JSON.
        used_schema: The schema, as JSON. With infer, it is the inferred one.
        report: The result as a page.
        valid: The verdict. It is true if the table fits the schema.
    """
    from kfgcp_components.data.validate_table.logic import summarize, validate, write_violations
    from kfgcp_components.data.validate_table.report import write_report
    from kfgcp_components.data.validate_table.schema import (
        choose_schema,
        parse_schema,
        write_schema,
    )
    from kfgcp_components.logs import log
    from kfgcp_components.outputs import write_files
    from kfgcp_components.table_file import TableFile

    with TableFile(table.path, "table") as file:
        content = choose_schema(file, schema, schema_file and schema_file.path, infer)
        result = validate(file, parse_schema(content))
    paths = (used_schema.path, violations.path, report.path)
    with write_files(*paths) as (schema_output, violations_output, report_output):
        write_schema(content, schema_output)
        write_violations(result, violations_output)
        write_report(result, report_output)
    for violation in result.violations:
        log(str(violation), severity="WARNING")
    log(f"checked {result.rows} rows: {len(result.violations)} checks fail")
    if fail and not result.valid:
        raise ValueError(summarize(result))
    return (result.valid,)
