"""The component `explain_model`: the permutation importance of each column.

A column is important if the model predicts worse when the values of the column are shuffled between
the rows. The loss is the difference of the metric. A positive loss is worse for every metric, also
for those where lower is better.

`importances` is JSON:

```json
{"metric": "accuracy", "baseline": 0.95, "rows": 143, "repeats": 5, "seed": 0,
 "importances": [{"column": "area", "mean": 0.1, "standard_deviation": 0.02, "losses": [0.1]}]}
```

`metrics` has the baseline, and the mean loss of each of the 20 most important columns as
`importance_<column>`. The shuffling is the one of `sklearn.inspection.permutation_importance` with
the same seed.

## Limits

- Two columns with the same information share their importance: each looks unimportant, because the
  model still has the other one.
- Importance says what this model uses. It does not say what causes the target.
- Measure on a test set. On the training set, a model that has learned it by heart looks better.
"""

from kfp import dsl


@dsl.component(base_image="tabular", install_kfp_package=False)  # type: ignore[untyped-decorator]
def explain_model(
    model: dsl.Input[dsl.Model],
    test: dsl.Input[dsl.Dataset],
    target: str,
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    importances: dsl.Output[dsl.Artifact],
    metric: str = "",
    repeats: int = 5,
    seed: int = 0,
    max_rows: int = 10000,
) -> None:
    """Measure how much each column contributes to the predictions of a model.

    Args:
        model: The model that train_classifier or train_regressor wrote.
        test: The test set, as Parquet.
        target: Name of the column that holds the true values.
        metric: A metric of evaluate_classifier or evaluate_regressor. Empty means accuracy for a
            classifier, and rmse for a regressor.
        repeats: How often each column is shuffled.
        seed: Seed of the shuffling, and of the choice of rows.
        max_rows: Of a larger test set, this number of rows is chosen at random.
        metrics: The metric without shuffling, and the loss of the most important columns.
        report: A table of all columns, the most important first.
        importances: All losses, as JSON.
    """
    from kfgcp_components.evaluate.explain.logic import explain
    from kfgcp_components.logs import log
    from kfgcp_components.models import read_model
    from kfgcp_components.outputs import write_files
    from kfgcp_components.tables import read_parquet

    result = explain(
        read_model(model.path),
        read_parquet(test.path),
        target,
        metric=metric,
        repeats=repeats,
        seed=seed,
        max_rows=max_rows,
    )
    metrics.log_metric(f"baseline_{result.metric}", result.baseline)
    for importance in result.importances[:20]:
        metrics.log_metric(f"importance_{importance.column}", importance.mean)
    with write_files(report.path, importances.path) as (report_file, importances_file):
        report_file.write_text(result.html(), encoding="utf-8")
        importances_file.write_text(result.to_json(), encoding="utf-8")
    for importance in result.importances[:5]:
        log(f"loss of {result.metric} without {importance.column}: {importance.mean:.6g}")
