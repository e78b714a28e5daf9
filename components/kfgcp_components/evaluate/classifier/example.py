"""Evaluate a classifier."""

from kfp import dsl

from kfgcp_components import evaluate_classifier, ingest_table, split_table, train_classifier


@dsl.pipeline(name="evaluate-classifier-example")
def example(source: str = "examples/data/breast_cancer.csv") -> None:
    """Measure a classifier on rows that it has not seen."""
    table = ingest_table(source=source).outputs["table"]
    parts = split_table(table=table, target="diagnosis")
    trained = train_classifier(train=parts.outputs["train"], target="diagnosis")
    evaluate_classifier(
        classifier=trained.outputs["classifier"], test=parts.outputs["test"], target="diagnosis"
    )
