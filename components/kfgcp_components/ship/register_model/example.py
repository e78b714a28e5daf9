"""Register a model."""

from kfp import dsl

from kfgcp_components import ingest_table, register_model, train_classifier


@dsl.pipeline(name="register-model-example")
def example(registry: str = "registry", source: str = "examples/data/breast_cancer.csv") -> None:
    """Train a model and register it as a version of "diagnosis"."""
    table = ingest_table(source=source).outputs["table"]
    trained = train_classifier(train=table, target="diagnosis")
    register_model(
        model=trained.outputs["classifier"],
        registry=registry,
        name="diagnosis",
        run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
    )
