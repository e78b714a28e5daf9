"""Promote a model."""

from kfp import dsl

from kfgcp_components import ingest_table, promote_model, register_model, train_classifier


@dsl.pipeline(name="promote-model-example")
def example(registry: str = "registry", source: str = "examples/data/breast_cancer.csv") -> None:
    """Register a model, and make it the champion."""
    table = ingest_table(source=source).outputs["table"]
    trained = train_classifier(train=table, target="diagnosis")
    registered = register_model(
        model=trained.outputs["classifier"], registry=registry, name="diagnosis"
    )
    promote_model(registry=registry, name="diagnosis", version=registered.outputs["version"])
