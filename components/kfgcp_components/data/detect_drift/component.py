"""The component `detect_drift`: whether the data of today still looks like the data of training.

The reference is an earlier table, or its profile from `profile_table`.

| Measure | Of | Says |
| --- | --- | --- |
| `psi` | all columns | population stability index: sum of (p - q) ln(p / q) over the bins |
| `js` | all columns | Jensen-Shannon distance of the bins, from 0 to 1 |
| `ks` | numbers and times | largest difference of the cumulative distributions |
| `chi_squared` | all columns | Pearson's test of the counts in the bins |

A column has drifted if PSI, Jensen-Shannon or KS is above its threshold, and if the difference is
not chance: one of the tests (KS, chi-squared) is significant. `alpha` is for all columns together
(Bonferroni's correction), so that many columns do not lead to false alarms.

The bins of numbers are the tenths of the reference. A column with up to 10 different numbers has a
bin for each. The bins of text are the 50 most frequent categories, and one for all other values.
Missing values, together with infinite numbers, are one more bin. So a column that becomes empty has
drifted.

A column that the table does not have, or whose kind changed, has drifted. A new column is reported,
but is not drift.

## Limits

- With a profile as the reference, KS is measured at its 1,000 points. The exact value can be larger
  by 0.001.
- In PSI, a share below 0.0001 counts as 0.0001.
- The p-value of KS is that of the limit distribution. It is too large when many values are equal.
- Each column is compared by itself. A change of the relation of two columns is not seen.
- The component reads one column at a time, so it needs the memory of the largest column.
"""

from typing import NamedTuple

from kfp import dsl


@dsl.component(base_image="tabular", install_kfp_package=False)  # type: ignore[untyped-decorator]
def detect_drift(
    table: dsl.Input[dsl.Dataset],
    reference: dsl.Input[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    details: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    # A plain list, because kfp before 2.15 takes list[str] for the name of an artifact type.
    columns: list = [],  # type: ignore[type-arg]  # noqa: B006 - KFP takes the default from here
    psi_threshold: float = 0.2,
    ks_threshold: float = 0.1,
    js_threshold: float = 0.1,
    alpha: float = 0.05,
    max_drifted_columns: int = 0,
) -> NamedTuple("Outputs", drifted=bool):  # type: ignore[valid-type]
    """Compare each column of a table with a reference.

    Args:
        table: The table, as Parquet.
        reference: An earlier table as Parquet, or its profile from profile_table.
        columns: Names of the columns to compare. Without names, all columns of the reference.
        psi_threshold: Population stability index above which a column differs.
        ks_threshold: Statistic of Kolmogorov and Smirnov above which a column differs.
        js_threshold: Jensen-Shannon distance above which a column differs.
        alpha: Probability of a false alarm, for all columns together. 1 turns the tests off.
        max_drifted_columns: Number of columns that may drift before the table has drifted.
        metrics: drifted_columns, compared_columns, max_psi, max_js, max_ks.
        details: All measures of each column, as JSON.
        report: The comparison as a page.
        drifted: The verdict. It is true if more columns have drifted than max_drifted_columns.
    """
    from kfgcp_components.data.detect_drift.logic import Thresholds, detect, write_details
    from kfgcp_components.data.detect_drift.report import write_report
    from kfgcp_components.logs import log
    from kfgcp_components.outputs import write_files

    thresholds = Thresholds(psi_threshold, ks_threshold, js_threshold, alpha, max_drifted_columns)
    result = detect(table.path, reference.path, thresholds, columns)
    metrics.log_metric("drifted_columns", len(result.drifted_columns))
    metrics.log_metric("compared_columns", len(result.columns))
    for name in ("psi", "js", "ks"):
        values = [getattr(column, name) for column in result.columns.values()]
        metrics.log_metric(f"max_{name}", max((value for value in values if value), default=0.0))
    with write_files(details.path, report.path) as (details_file, report_file):
        write_details(result, details_file)
        write_report(result, report_file)
    for name in result.drifted_columns:
        log(f"{name} has drifted: {result.columns[name].reason}", severity="WARNING")
    log(f"{len(result.drifted_columns)} of {len(result.columns)} columns have drifted")
    return (result.drifted,)
