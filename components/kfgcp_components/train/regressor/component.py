"""The component `train_regressor`: a scikit-learn regressor for any table.

The model is a folder with `model.json` and `model.skops`. Reading it runs no code from its files.
The metadata of the model has `framework`, `framework_version`, `model`, `hyperparameters`, `seed`,
`target`, `rows`, `numeric_features`, `text_features`, and `dropped_columns` with the reason for
each.

| `model` | Estimator | Changed default |
| --- | --- | --- |
| `linear_regression` | `LinearRegression` | |
| `ridge` | `Ridge` | |
| `random_forest` | `RandomForestRegressor` | |
| `gradient_boosting` | `HistGradientBoostingRegressor` | `early_stopping=False` |

The component prepares columns as
[train_classifier](../classifier/README.md#details) does.

## Limits

- The target must hold finite numbers, with at least two different ones. Rows without a target are
  left out. `train_classifier` predicts classes.
- The target is not transformed. When its values span several orders of magnitude, add a column with
  their logarithm first, or use `gradient_boosting` with the loss `gamma` or `poisson`.
- The component treats a numeric identifier as a measurement, and learns from it. Remove these
  columns first.
- KFP passes numbers in a dictionary as doubles, so the component converts whole numbers to
  integers. The exception is 1 for `max_features` and `max_samples`: 1 may arrive as 1.0, which
  means all. Use 2 or more for a count.
- The encoded table is dense in memory.
- A model is read with the minor version of scikit-learn that trained it.
"""

from kfp import dsl


@dsl.component(base_image="tabular", install_kfp_package=False)  # type: ignore[untyped-decorator]
def train_regressor(
    train: dsl.Input[dsl.Dataset],
    target: str,
    regressor: dsl.Output[dsl.Model],
    model: str = "ridge",
    # A plain dict, because kfp before 2.15 takes dict[str, Any] for the name of an artifact type.
    hyperparameters: dict = {},  # type: ignore[type-arg]  # noqa: B006 - KFP takes the default from here
    seed: int = 0,
) -> None:
    """Train a regressor on all usable columns of a table.

    Missing values and text need no preparation.

    Args:
        train: The training set, as Parquet.
        target: Name of the column with the numbers to predict.
        model: One of linear_regression, ridge, random_forest, gradient_boosting.
        hyperparameters: Parameters of the scikit-learn estimator by name, such as {"alpha": 0.1}.
        seed: Seed of everything random in the training.
        regressor: The model: a folder with model.json and the fitted scikit-learn pipeline.
            Metadata: how it was trained.
    """
    from kfgcp_components.logs import log
    from kfgcp_components.models import write_model
    from kfgcp_components.tables import read_parquet
    from kfgcp_components.train.regressor.logic import train as fit

    trained = fit(
        read_parquet(train.path), target, model=model, hyperparameters=hyperparameters, seed=seed
    )
    write_model(
        trained.pipeline,
        regressor.path,
        task="regression",
        target=target,
        features=trained.features,
        facts=trained.facts,
    )
    regressor.metadata.update(trained.facts)
    log(f"trained {model} on {trained.facts['rows']} rows", facts=trained.summary())
