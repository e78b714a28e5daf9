"""The component `evaluate_slices`: one metric on slices of a test set, and the worst slice.

A slice has the rows with the same value in a column. Each column of `columns` is sliced by itself.

- **Numeric columns** with more distinct values than `bins` are divided into ranges with about
  equally many rows. The name of a slice has its smallest and its largest number.
- **All other columns** get a slice for each value. A column with more than 100 values is refused.
- **Missing values** are a slice of their own, `(missing)`.

A slice with fewer than `min_rows` rows is in the report, but cannot be the worst one, because its
metric depends on chance too much. The same holds for a slice on which the metric is undefined, such
as `roc_auc` where all rows are of one class.

The metrics, for `metric="accuracy"`:

| Metric | Meaning |
| --- | --- |
| `worst_accuracy` | accuracy of the worst slice |
| `overall_accuracy` | accuracy of all rows |
| `gap_accuracy` | the difference between the two |
| `worst_rows` | rows of the worst slice |
| `slices` | number of slices of all columns |

The metadata of `report` has `worst_slice`, such as `city = Oslo`. A gate can use `worst_accuracy`.

## Limits

- Combinations of columns are not measured. Add a column that combines them first.
- The worst of many slices looks bad by chance alone. Choose few columns and a large `min_rows`.
"""

from kfp import dsl


@dsl.component(base_image="tabular", install_kfp_package=False)  # type: ignore[untyped-decorator]
def evaluate_slices(
    model: dsl.Input[dsl.Model],
    test: dsl.Input[dsl.Dataset],
    target: str,
    # A plain list, because kfp before 2.15 takes list[str] for the name of an artifact type.
    columns: list,  # type: ignore[type-arg]
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    metric: str = "",
    bins: int = 4,
    min_rows: int = 30,
) -> None:
    """Measure a model on slices of a test set, and find the worst slice.

    Args:
        model: The model that train_classifier or train_regressor wrote.
        test: The test set, as Parquet.
        target: Name of the column that holds the true values.
        columns: Names of the columns to slice by, such as ["city", "age"].
        metric: A metric of evaluate_classifier or evaluate_regressor. Empty means accuracy for a
            classifier, and rmse for a regressor.
        bins: Number of slices of a numeric column.
        min_rows: Number of rows that a slice needs to be the worst one.
        metrics: The metric of the worst slice and of all rows, the gap, and numbers of slices.
        report: A table of all slices.
    """
    from kfgcp_components.evaluate.slices.logic import evaluate_slices as evaluate
    from kfgcp_components.logs import log
    from kfgcp_components.models import read_model
    from kfgcp_components.outputs import write_files
    from kfgcp_components.tables import read_parquet

    result = evaluate(
        read_model(model.path),
        read_parquet(test.path),
        target,
        columns,
        metric=metric,
        bins=bins,
        min_rows=min_rows,
    )
    for name, value in result.metrics().items():
        metrics.log_metric(name, value)
    with write_files(report.path) as (report_file,):
        report_file.write_text(result.html(), encoding="utf-8")
    report.metadata["worst_slice"] = result.worst.name
    log(
        f"{result.metric} is {result.worst.score:.6g} on the worst slice, {result.worst.name}, and"
        f" {result.overall:.6g} on all rows"
    )
    for note in result.notes:
        log(note, severity="NOTICE")
