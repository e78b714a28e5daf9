"""Train and evaluate a classifier on a table with four ready-made components.

Run it from the top folder of the repository with `kfgcp run examples/train_classifier.py`.
"""

from kfp import dsl

from kfgcp_components import evaluate_classifier, ingest_table, split_table, train_classifier


@dsl.pipeline(name="train-classifier")
def train_classifier_pipeline(
    data: str = "examples/data/breast_cancer.csv",
    target: str = "diagnosis",
    model: str = "logistic_regression",
    hyperparameters: dict = {},  # noqa: B006 - KFP takes the default from here
    test_fraction: float = 0.25,
    seed: int = 7,
) -> None:
    """Train a classifier on one part of a table and measure it on the rest.

    Args:
        data: Path, or file://, http(s)://, gs:// or s3:// URL, of a CSV or Parquet file.
        target: Name of the column to predict.
        model: One of logistic_regression, random_forest, gradient_boosting.
        hyperparameters: Parameters of the scikit-learn estimator by name, such as {"C": 0.1}.
        test_fraction: Share of the rows that is kept for measuring, between 0 and 1.
        seed: Seed of the split and of the training.
    """
    ingested = ingest_table(source=data)
    parts = split_table(
        table=ingested.outputs["table"], target=target, test_fraction=test_fraction, seed=seed
    )
    trained = train_classifier(
        train=parts.outputs["train"],
        target=target,
        model=model,
        hyperparameters=hyperparameters,
        seed=seed,
    )
    evaluate_classifier(
        classifier=trained.outputs["classifier"], test=parts.outputs["test"], target=target
    )
