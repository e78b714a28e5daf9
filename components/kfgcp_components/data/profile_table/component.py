"""The component `profile_table`: what a table contains, as JSON and as a page to look at.

The profile is small, so it can be kept for a long time. `detect_drift` compares a newer table with
it.

The JSON has `format` (`kfgcp-profile-1`), `rows` and `columns`: for each column its `kind`, the
number of values (`count`), of rows without a value (`missing`) and of different values
(`distinct`). A column of numbers or times has `numbers`: mean, standard deviation, quantiles,
histogram and up to 1,000 points of the distribution. A column of text or booleans has `categories`:
up to 1,000 frequent values with their counts.

## Limits

- The component reads one column at a time, so it needs the memory of the largest column.
- Numbers become 64-bit floats. Larger integers lose digits.
- NaN counts as missing. Infinite values are counted, but are not part of the distribution.
- Times are seconds since 1970 in UTC. Lists and structs are only counted.
- The profile and the page contain values of the table. Protect them like the table.
"""

from kfp import dsl


@dsl.component(base_image="tabular", install_kfp_package=False)  # type: ignore[untyped-decorator]
def profile_table(
    table: dsl.Input[dsl.Dataset],
    profile: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
) -> None:
    """Describe each column of a table.

    Args:
        table: The table, as Parquet.
        profile: The profile as JSON. Metadata: format, rows, columns.
        report: The profile as a page.
    """
    from kfgcp_components.data.profile_table.logic import FORMAT, profile_file, write_profile
    from kfgcp_components.data.profile_table.report import write_report
    from kfgcp_components.logs import log
    from kfgcp_components.outputs import write_files
    from kfgcp_components.table_file import TableFile

    with TableFile(table.path, "table") as file:
        result = profile_file(file)
    with write_files(profile.path, report.path) as (profile_output, report_output):
        write_profile(result, profile_output)
        write_report(result, report_output)
    profile.metadata.update(format=FORMAT, rows=result.rows, columns=len(result.columns))
    log(f"described {len(result.columns)} columns of {result.rows} rows")
