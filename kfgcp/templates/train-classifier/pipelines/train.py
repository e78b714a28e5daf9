"""Train a classifier, measure it on other rows, and keep it when it is good enough."""

from kfp import dsl
from kfp.dsl import Input, Metrics, Model, Output

from kfgcp_components import evaluate_classifier, ingest_table, split_table, train_classifier


@dsl.component(base_image="python:3.11")
def is_good(metrics: Input[Metrics], metric: str, minimum: float) -> bool:
    """Return whether a metric reaches a minimum.

    Args:
        metrics: Metrics of a model.
        metric: Name of the metric. It must be there.
        minimum: The smallest good value.
    """
    if metric not in metrics.metadata:
        raise ValueError(f"the model has no metric {metric!r}, only {', '.join(metrics.metadata)}")
    value = metrics.metadata[metric]
    print(f"{metric} is {value:.4f}, the minimum is {minimum}")
    return value >= minimum


@dsl.component(base_image="python:3.11")
def keep_model(candidate: Input[Model], model: Output[Model]) -> None:
    """Copy a model to the place of kept models.

    Args:
        candidate: The model to keep.
        model: The copy, with the same metadata.
    """
    import os
    import shutil

    copy = shutil.copytree if os.path.isdir(candidate.path) else shutil.copyfile
    copy(candidate.path, model.path)
    model.metadata.update(candidate.metadata)


@dsl.pipeline(name="train")
def train(
    data: str,
    target: str,
    model: str = "logistic_regression",
    metric: str = "roc_auc",
    minimum: float = 0.9,
    test_fraction: float = 0.25,
    seed: int = 7,
) -> None:
    """Train a classifier and keep it when it is good enough.

    Args:
        data: Path or address of a CSV or Parquet file.
        target: Name of the column to predict.
        model: One of logistic_regression, random_forest, gradient_boosting.
        metric: The metric that decides, such as roc_auc or accuracy.
        minimum: The smallest value of the metric with which the model is kept.
        test_fraction: Share of the rows for measuring, between 0 and 1.
        seed: Seed of the split and of the training.
    """
    # The cache knows only the address of the data, not its content.
    table = ingest_table(source=data).set_caching_options(False).outputs["table"]
    parts = split_table(table=table, target=target, test_fraction=test_fraction, seed=seed).outputs
    trained = train_classifier(train=parts["train"], target=target, model=model, seed=seed)
    classifier = trained.outputs["classifier"]
    measured = evaluate_classifier(classifier=classifier, test=parts["test"], target=target)
    good = is_good(metrics=measured.outputs["metrics"], metric=metric, minimum=minimum)
    with dsl.If(good.output == True):  # noqa: E712 - KFP needs the comparison
        keep_model(candidate=classifier)
