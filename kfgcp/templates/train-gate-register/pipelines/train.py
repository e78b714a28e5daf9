"""Train a classifier, compare it with the model in use, and register it when it passes the gate."""

from kfp import dsl

from kfgcp_components import (
    evaluate_classifier,
    fetch_model,
    gate_model,
    ingest_table,
    promote_model,
    register_model,
    split_table,
    train_classifier,
)


@dsl.pipeline(name="train")
def train(
    data: str,
    target: str,
    registry: str,
    name: str = "classifier",
    model: str = "logistic_regression",
    thresholds: list[str] = ["roc_auc >= 0.9"],  # noqa: B006 - KFP takes the default from here
    resamples: int = 2000,
    test_fraction: float = 0.25,
    seed: int = 7,
) -> bool:
    """Train a classifier and register it when it passes the gate.

    Args:
        data: Path or address of a CSV or Parquet file.
        target: Name of the column to predict.
        registry: A folder, an address such as gs://bucket/models, or
            projects/PROJECT/locations/LOCATION for the Model Registry of Vertex AI.
        name: Name of the model in the registry. Its alias "champion" is the model in use.
        model: One of logistic_regression, random_forest, gradient_boosting.
        thresholds: What the new model must reach, such as ["roc_auc >= 0.9"].
        resamples: How often the gate resamples the test rows to compare with the champion.
        test_fraction: Share of the rows for measuring, between 0 and 1.
        seed: Seed of the split, of the training and of the gate.
    """
    # The cache knows only the address of the data, not its content.
    table = ingest_table(source=data).set_caching_options(False).outputs["table"]
    parts = split_table(table=table, target=target, test_fraction=test_fraction, seed=seed).outputs
    trained = train_classifier(train=parts["train"], target=target, model=model, seed=seed)
    challenger = trained.outputs["classifier"]
    evaluate_classifier(classifier=challenger, test=parts["test"], target=target)
    champion = fetch_model(registry=registry, name=name, required=False)
    gate = gate_model(
        challenger=challenger,
        champion=champion.outputs["model"],
        test=parts["test"],
        target=target,
        thresholds=thresholds,
        resamples=resamples,
        seed=seed,
    )
    # Each decision is about the champion of this moment.
    gate.set_caching_options(False)
    with dsl.If(gate.outputs["passed"] == True):  # noqa: E712 - KFP needs the comparison
        registered = register_model(
            model=challenger, registry=registry, name=name, run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER
        )
        promote_model(
            registry=registry,
            name=name,
            version=registered.outputs["version"],
            expected=champion.outputs["resolved_version"],
        )
    return gate.outputs["passed"]
