"""The component `train_classifier`: a scikit-learn classifier for any table.

The model is a folder with `model.json` and `model.skops`. Reading it runs no code from its files.
The metadata of the model has `framework`, `framework_version`, `model`, `hyperparameters`, `seed`,
`target`, `classes`, `rows`, `numeric_features`, `text_features`, and `dropped_columns` with the
reason for each.

| `model` | Estimator | Changed default |
| --- | --- | --- |
| `logistic_regression` | `LogisticRegression` | `max_iter=1000` |
| `random_forest` | `RandomForestClassifier` | |
| `gradient_boosting` | `HistGradientBoostingClassifier` | `early_stopping=False` |

The component prepares columns as follows:

- **Numbers and booleans**: missing and infinite values become the median. Then each column is
  scaled to mean 0 and variance 1.
- **Text, dates and everything else**: each value gets its own column. A missing value is a separate
  value. One group contains the values in less than 1 % of the rows, and all values after the 49
  most frequent. A value that was not in the training set also belongs to this group. Without such a
  group, this value has 0 in all of these columns.
- **Dropped columns**: columns without any value. In tables of 20 rows or more, also text columns in
  which more than 90 % of the values differ.

## Limits

- The component treats a numeric identifier as a measurement, and learns from it. Remove these
  columns first.
- KFP passes numbers in a dictionary as doubles, so the component converts whole numbers to
  integers. The exception is 1 for `max_features` and `max_samples`: 1 may arrive as 1.0, which
  means all. Use 2 or more for a count.
- The component refuses a target with fractions, with fewer than two rows for each class on average,
  or with more than 10,000 classes. Whole numbers need 20 rows for each number, and there can be at
  most 1,000 of them. Up to 20 classes are always accepted. `train_regressor` predicts numbers.
- The encoded table is dense in memory.
- The pipeline contains only scikit-learn's own steps. A model is read with the minor version of
  scikit-learn that trained it.
- Gradient boosting does not take `categorical_features`, because the component encodes categories.
"""

from kfp import dsl


@dsl.component(base_image="tabular", install_kfp_package=False)  # type: ignore[untyped-decorator]
def train_classifier(
    train: dsl.Input[dsl.Dataset],
    target: str,
    classifier: dsl.Output[dsl.Model],
    model: str = "logistic_regression",
    # A plain dict, because kfp before 2.15 takes dict[str, Any] for the name of an artifact type.
    hyperparameters: dict = {},  # type: ignore[type-arg]  # noqa: B006 - KFP takes the default from here
    seed: int = 0,
) -> None:
    """Train a classifier on all usable columns of a table.

    Missing values and text need no preparation.

    Args:
        train: The training set, as Parquet.
        target: Name of the column that holds the classes.
        model: One of logistic_regression, random_forest, gradient_boosting.
        hyperparameters: Parameters of the scikit-learn estimator by name, such as {"C": 0.1}.
        seed: Seed of everything random in the training.
        classifier: The model: a folder with model.json and the fitted scikit-learn pipeline.
            Metadata: how it was trained.
    """
    from kfgcp_components.logs import log
    from kfgcp_components.models import write_model
    from kfgcp_components.tables import read_parquet
    from kfgcp_components.train.classifier.logic import train as fit

    trained = fit(
        read_parquet(train.path), target, model=model, hyperparameters=hyperparameters, seed=seed
    )
    write_model(
        trained.pipeline,
        classifier.path,
        task="classification",
        target=target,
        features=trained.features,
        facts=trained.facts,
    )
    classifier.metadata.update(trained.facts)
    log(f"trained {model} on {trained.facts['rows']} rows", facts=trained.summary())
