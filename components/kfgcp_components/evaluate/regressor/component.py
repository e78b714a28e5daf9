"""The component `evaluate_regressor`: metrics of a regressor on a test set.

In this table, y are the true numbers, and e are the errors: the true minus the predicted numbers.

| Metric | Meaning | Left out |
| --- | --- | --- |
| `r2` | 1 - Σe² / Σ(y - mean(y))² | when all true numbers are equal |
| `explained_variance` | 1 - Σ(e - mean(e))² / Σ(y - mean(y))² | when all true numbers are equal |
| `rmse` | root of the mean of e² | |
| `mae` | mean of the absolute errors | |
| `median_absolute_error` | median of the absolute errors | |
| `max_error` | largest absolute error | |
| `mape` | mean of the absolute values of e / y | when a true number is 0 |

The log names each metric that is left out. All metrics except `r2`, `explained_variance` and `mape`
are in the unit of the target.

## Limits

- Rows without a value in the target column are left out.
- The model must come from the same minor version of scikit-learn. No code from its files runs.
"""

from kfp import dsl


@dsl.component(base_image="tabular", install_kfp_package=False)  # type: ignore[untyped-decorator]
def evaluate_regressor(
    regressor: dsl.Input[dsl.Model],
    test: dsl.Input[dsl.Dataset],
    target: str,
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Measure how well a regressor predicts a test set.

    Args:
        regressor: The model that train_regressor wrote.
        test: The test set, as Parquet.
        target: Name of the column that holds the true numbers.
        metrics: r2, explained_variance, rmse, mae, median_absolute_error, max_error, mape.
    """
    from kfgcp_components.evaluate.regressor.logic import evaluate
    from kfgcp_components.logs import log
    from kfgcp_components.models import read_model
    from kfgcp_components.tables import read_parquet

    result = evaluate(read_model(regressor.path), read_parquet(test.path), target)
    for name, value in result.metrics.items():
        metrics.log_metric(name, value)
        log(f"{name}: {value:.6g}")
    for note in result.notes:
        log(note, severity="NOTICE")
