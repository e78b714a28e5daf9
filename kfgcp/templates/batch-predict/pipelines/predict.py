"""Predict a table with the model in use. Train and register a first model when there is none."""

from kfp import dsl

from kfgcp_components import (
    fetch_model,
    ingest_table,
    predict_batch,
    promote_model,
    register_model,
    train_classifier,
)


@dsl.pipeline(name="predict")
def predict(
    data: str,
    training_data: str,
    target: str,
    registry: str,
    name: str = "classifier",
    alias: str = "champion",
    model: str = "random_forest",
    seed: int = 7,
) -> int:
    """Predict each row of a table.

    Args:
        data: Path or address of a CSV or Parquet file with the rows to predict.
        training_data: Path or address of the file that the first model learns from.
        target: Name of the column to predict. Only the training data needs it.
        registry: A folder, an address such as gs://bucket/models, or
            projects/PROJECT/locations/LOCATION for the Model Registry of Vertex AI.
        name: Name of the model in the registry.
        alias: The alias of the model in use.
        model: What the first model is: logistic_regression, random_forest, gradient_boosting.
        seed: Seed of the training.
    """
    # The cache knows only the address of the data, not its content.
    rows = ingest_table(source=data).set_caching_options(False).outputs["table"]
    fetched = fetch_model(registry=registry, name=name, version=alias, required=False)
    with dsl.If(fetched.outputs["found"] == True):  # noqa: E712 - KFP needs the comparison
        predicted = predict_batch(model=fetched.outputs["model"], table=rows)
    with dsl.Else():
        training_rows = ingest_table(source=training_data).outputs["table"]
        trained = train_classifier(train=training_rows, target=target, model=model, seed=seed)
        classifier = trained.outputs["classifier"]
        registered = register_model(
            model=classifier, registry=registry, name=name, run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER
        )
        promote_model(
            registry=registry,
            name=name,
            version=registered.outputs["version"],
            alias=alias,
            expected="none",
        )
        first_predicted = predict_batch(model=classifier, table=rows)
    return dsl.OneOf(predicted.outputs["Output"], first_predicted.outputs["Output"])
