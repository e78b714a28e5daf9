"""Explain a classifier."""

from kfp import dsl

from kfgcp_components import explain_model, ingest_table, split_table, train_classifier


@dsl.pipeline(name="explain-model-example")
def example(source: str = "examples/data/breast_cancer.csv", target: str = "diagnosis") -> None:
    """Find the columns that a logistic regression uses most."""
    table = ingest_table(source=source).outputs["table"]
    parts = split_table(table=table, target=target)
    trained = train_classifier(train=parts.outputs["train"], target=target)
    explain_model(
        model=trained.outputs["classifier"],
        test=parts.outputs["test"],
        target=target,
        metric="roc_auc",
        repeats=3,
        seed=7,
    )
