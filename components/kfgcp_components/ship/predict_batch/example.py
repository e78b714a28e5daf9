"""Predict a table."""

from kfp import dsl

from kfgcp_components import ingest_table, predict_batch, split_table, train_classifier


@dsl.pipeline(name="predict-batch-example")
def example(source: str = "examples/data/breast_cancer.csv") -> int:
    """Train a model on one part of a table, and predict the other part."""
    table = ingest_table(source=source).outputs["table"]
    parts = split_table(table=table, target="diagnosis")
    trained = train_classifier(train=parts.outputs["train"], target="diagnosis")
    predicted = predict_batch(
        model=trained.outputs["classifier"],
        table=parts.outputs["test"],
        keep_columns=["diagnosis"],
    )
    return predicted.outputs["Output"]
