"""Train several regressors on the same rows, measure each on other rows, and name the best."""

from kfp import dsl

from kfgcp_components import evaluate_regressor, ingest_table, split_table, train_regressor


@dsl.component(base_image="base", install_kfp_package=False)
def choose_best(models: list, errors: list) -> str:
    """Return the model with the smallest error.

    Args:
        models: Names of the models.
        errors: The error of each model, in the same order.
    """
    ranking = sorted(zip(errors, models, strict=True))
    for error, model in ranking:
        print(f"{model}: {error:.4f}")
    return ranking[0][1]


@dsl.component(base_image="base", install_kfp_package=False)
def read_metric(metrics: dsl.Input[dsl.Metrics], name: str) -> float:
    """Return a metric.

    Args:
        metrics: Metrics of a model.
        name: Name of the metric. It must be there.
    """
    if name not in metrics.metadata:
        raise ValueError(f"the model has no metric {name!r}, only {', '.join(metrics.metadata)}")
    return float(metrics.metadata[name])


@dsl.pipeline(name="train")
def train(
    data: str,
    target: str,
    models: list[str] = ["linear_regression", "ridge", "gradient_boosting"],  # noqa: B006
    metric: str = "rmse",
    test_fraction: float = 0.25,
    seed: int = 7,
) -> str:
    """Train several regressors and name the best.

    Args:
        data: Path or address of a CSV or Parquet file.
        target: Name of the column with the numbers to predict.
        models: Of linear_regression, ridge, random_forest, gradient_boosting.
        metric: The metric that decides. Smaller must be better: rmse, mae, max_error.
        test_fraction: Share of the rows for measuring, between 0 and 1.
        seed: Seed of the split and of the training.
    """
    # The cache knows only the address of the data, not its content.
    table = ingest_table(source=data).set_caching_options(False).outputs["table"]
    parts = split_table(
        table=table, target=target, test_fraction=test_fraction, stratify=False, seed=seed
    ).outputs
    with dsl.ParallelFor(items=models) as model:
        trained = train_regressor(train=parts["train"], target=target, model=model, seed=seed)
        measured = evaluate_regressor(
            regressor=trained.outputs["regressor"], test=parts["test"], target=target
        )
        error = read_metric(metrics=measured.outputs["metrics"], name=metric)
    return choose_best(models=models, errors=dsl.Collected(error.output)).output
