"""Measure a regressor."""

from kfp import dsl

from kfgcp_components import evaluate_regressor, ingest_table, split_table, train_regressor


@dsl.pipeline(name="evaluate-regressor-example")
def example(source: str = "examples/data/breast_cancer.csv", target: str = "mean_radius") -> None:
    """Measure a ridge regression on a quarter of the rows."""
    table = ingest_table(source=source).outputs["table"]
    parts = split_table(table=table, target=target, stratify=False)
    trained = train_regressor(train=parts.outputs["train"], target=target)
    evaluate_regressor(
        regressor=trained.outputs["regressor"], test=parts.outputs["test"], target=target
    )
