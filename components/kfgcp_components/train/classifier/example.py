"""Train a classifier."""

from kfp import dsl

from kfgcp_components import ingest_table, split_table, train_classifier


@dsl.pipeline(name="train-classifier-example")
def example(source: str = "examples/data/breast_cancer.csv") -> None:
    """Train a random forest on four fifths of the rows."""
    table = ingest_table(source=source).outputs["table"]
    parts = split_table(table=table, target="diagnosis", test_fraction=0.2)
    train_classifier(
        train=parts.outputs["train"],
        target="diagnosis",
        model="random_forest",
        hyperparameters={"n_estimators": 50, "max_depth": 12},
        seed=7,
    )
