"""The component `predict_batch`: a model predicts each row of a table.

The rows keep their order. Only some rows are in memory at once, so the table can be larger than the
memory. The new table has the columns of the old one, `prediction`, and for a classifier a column
`probability_CLASS` for each class.

## Limits

- The table must have all columns that the model was trained with. Their order does not matter, and
  other columns are only kept.
- A column that was numeric in training must be numeric here.
- A failed task leaves no table.
"""

from kfp import dsl


@dsl.component(base_image="tabular", install_kfp_package=False)  # type: ignore[untyped-decorator]
def predict_batch(
    model: dsl.Input[dsl.Model],
    table: dsl.Input[dsl.Dataset],
    predictions: dsl.Output[dsl.Dataset],
    keep_columns: list = [],  # type: ignore[type-arg]  # noqa: B006 - KFP takes the default
    prediction_column: str = "prediction",
    probabilities: bool = True,
) -> int:
    """Predict each row of a table with a model.

    Args:
        model: The model folder, as `train_classifier` or `train_regressor` writes it.
        table: The rows, as Parquet.
        keep_columns: Columns of the table that the new table has too. Empty for all.
        prediction_column: Name of the column with the prediction.
        probabilities: Whether a classifier also writes the probability of each class.
        predictions: The rows with their predictions, as Parquet. Metadata: rows, columns, model.

    Returns:
        The number of rows.
    """
    from pathlib import Path

    from kfgcp_components.logs import log
    from kfgcp_components.models import read_model
    from kfgcp_components.ship.predict_batch.logic import predict_table

    predicted = predict_table(
        read_model(model.path),
        Path(table.path),
        Path(predictions.path),
        keep_columns=keep_columns,
        prediction_column=prediction_column,
        probabilities=probabilities,
    )
    predictions.metadata.update(
        format="parquet", rows=predicted.rows, columns=predicted.columns, model=model.uri
    )
    log(f"predicted {predicted.rows} rows", rows=predicted.rows)
    return predicted.rows
