"""Measure a classifier on slices."""

from kfp import dsl

from kfgcp_components import evaluate_slices, ingest_table, split_table, train_classifier


@dsl.pipeline(name="evaluate-slices-example")
def example(source: str = "examples/data/breast_cancer.csv", target: str = "diagnosis") -> None:
    """Measure a logistic regression on small and large cells."""
    table = ingest_table(source=source).outputs["table"]
    parts = split_table(table=table, target=target)
    trained = train_classifier(train=parts.outputs["train"], target=target)
    evaluate_slices(
        model=trained.outputs["classifier"],
        test=parts.outputs["test"],
        target=target,
        columns=["mean_radius", "mean_texture"],
        metric="accuracy",
        bins=3,
    )
