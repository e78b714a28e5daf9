"""Use a model only if it is good."""

from kfp import dsl

from kfgcp_components import gate_model, ingest_table, split_table, train_classifier


@dsl.pipeline(name="gate-model-example")
def example(source: str = "examples/data/breast_cancer.csv", target: str = "diagnosis") -> None:
    """Compare gradient boosting with a logistic regression on the same test set."""
    table = ingest_table(source=source).outputs["table"]
    parts = split_table(table=table, target=target)
    champion = train_classifier(train=parts.outputs["train"], target=target)
    challenger = train_classifier(
        train=parts.outputs["train"],
        target=target,
        model="gradient_boosting",
        hyperparameters={"max_iter": 20},
    )
    gate_model(
        challenger=challenger.outputs["classifier"],
        champion=champion.outputs["classifier"],
        test=parts.outputs["test"],
        target=target,
        thresholds=["roc_auc >= 0.9", "accuracy >= 0.9"],
        metric="log_loss",
        alpha=0.05,
        seed=7,
    )
