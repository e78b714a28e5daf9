"""Compare new rows with the rows that a model learned from, and train again when they differ."""

from kfp import dsl

from kfgcp_components import (
    detect_drift,
    evaluate_classifier,
    ingest_table,
    profile_table,
    split_table,
    train_classifier,
)


@dsl.pipeline(name="retrain")
def retrain(
    data: str,
    reference: str,
    target: str,
    max_drifted_columns: int = 3,
    model: str = "random_forest",
    test_fraction: float = 0.25,
    seed: int = 7,
) -> bool:
    """Train again when the data has drifted.

    Args:
        data: Path or address of a CSV or Parquet file with the new rows.
        reference: Path or address of the file that the model in use learned from.
        target: Name of the column to predict.
        max_drifted_columns: How many columns may drift before the model is trained again.
        model: One of logistic_regression, random_forest, gradient_boosting.
        test_fraction: Share of the new rows for measuring, between 0 and 1.
        seed: Seed of the split and of the training.
    """
    # A profile is small, and the same reference gives the same profile. So the cache keeps it.
    old_rows = ingest_table(source=reference).outputs["table"]
    profile = profile_table(table=old_rows).outputs["profile"]
    # The cache knows only the address of the data, not its content.
    new_rows = ingest_table(source=data).set_caching_options(False).outputs["table"]
    drift = detect_drift(table=new_rows, reference=profile, max_drifted_columns=max_drifted_columns)
    with dsl.If(drift.outputs["drifted"] == True):  # noqa: E712 - KFP needs the comparison
        parts = split_table(
            table=new_rows, target=target, test_fraction=test_fraction, seed=seed
        ).outputs
        trained = train_classifier(train=parts["train"], target=target, model=model, seed=seed)
        evaluate_classifier(
            classifier=trained.outputs["classifier"], test=parts["test"], target=target
        )
    return drift.outputs["drifted"]
