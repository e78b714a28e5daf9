"""Train a regressor."""

from kfp import dsl

from kfgcp_components import ingest_table, split_table, train_regressor


@dsl.pipeline(name="train-regressor-example")
def example(source: str = "examples/data/breast_cancer.csv") -> None:
    """Train gradient boosting on four fifths of the rows."""
    table = ingest_table(source=source).outputs["table"]
    parts = split_table(table=table, target="mean_radius", test_fraction=0.2, stratify=False)
    train_regressor(
        train=parts.outputs["train"],
        target="mean_radius",
        model="gradient_boosting",
        hyperparameters={"max_iter": 50, "learning_rate": 0.2},
        seed=7,
    )
