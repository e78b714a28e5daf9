"""The component `train_classifier`: a scikit-learn classifier for any table."""

from kfp import dsl

from kfgcp_components.images import image


@dsl.component(base_image=image("tabular"), install_kfp_package=False)  # type: ignore[untyped-decorator]
def train_classifier(
    train: dsl.Input[dsl.Dataset],
    target: str,
    classifier: dsl.Output[dsl.Model],
    model: str = "logistic_regression",
    # A plain dict, because kfp before 2.15 takes dict[str, Any] for the name of an artifact type.
    hyperparameters: dict = {},  # type: ignore[type-arg]  # noqa: B006 - KFP takes the default from here
    seed: int = 0,
) -> None:
    """Train a classifier on all usable columns of a table.

    Missing values and text need no preparation.

    Args:
        train: The training set, as Parquet.
        target: Name of the column that holds the classes.
        model: One of logistic_regression, random_forest, gradient_boosting.
        hyperparameters: Parameters of the scikit-learn estimator by name, such as {"C": 0.1}.
        seed: Seed of everything random in the training.
        classifier: The fitted scikit-learn pipeline, written by joblib. Metadata: how it was
            trained.
    """
    from kfgcp_components.models import write_model
    from kfgcp_components.tables import read_parquet
    from kfgcp_components.train.classifier.logic import train as fit

    trained = fit(
        read_parquet(train.path), target, model=model, hyperparameters=hyperparameters, seed=seed
    )
    write_model(trained.pipeline, classifier.path)
    classifier.metadata.update(trained.facts)
    for name, value in trained.facts.items():
        # The names of hundreds of columns would hide the other lines.
        if name.endswith("_features") and isinstance(value, list):
            value = len(value)
        print(f"{name}: {value}")
