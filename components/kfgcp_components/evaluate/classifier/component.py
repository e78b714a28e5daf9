"""The component `evaluate_classifier`: metrics of a classifier on a test set."""

from kfp import dsl

from kfgcp_components.images import image


@dsl.component(base_image=image("tabular"), install_kfp_package=False)  # type: ignore[untyped-decorator]
def evaluate_classifier(
    classifier: dsl.Input[dsl.Model],
    test: dsl.Input[dsl.Dataset],
    target: str,
    metrics: dsl.Output[dsl.Metrics],
    classification_metrics: dsl.Output[dsl.ClassificationMetrics],
) -> None:
    """Measure how well a classifier predicts a test set.

    Args:
        classifier: A fitted scikit-learn pipeline, written by joblib. Reading it runs code from the
            file, so it must come from a source that you trust.
        test: The test set, as Parquet.
        target: Name of the column that holds the true classes.
        metrics: accuracy, balanced_accuracy, precision, recall, f1, log_loss, roc_auc.
        classification_metrics: Confusion matrix and ROC curve.
    """
    from kfgcp_components.evaluate.classifier.logic import evaluate
    from kfgcp_components.models import read_model
    from kfgcp_components.tables import read_parquet

    result = evaluate(read_model(classifier.path), read_parquet(test.path), target)
    for name, value in result.metrics.items():
        metrics.log_metric(name, value)
        print(f"{name}: {value:.6g}")
    classification_metrics.log_confusion_matrix(result.categories, result.confusion)
    if result.roc:
        false_positive_rates = [point[0] for point in result.roc]
        true_positive_rates = [point[1] for point in result.roc]
        thresholds = [point[2] for point in result.roc]
        classification_metrics.log_roc_curve(false_positive_rates, true_positive_rates, thresholds)
    for note in result.notes:
        print(f"note: {note}")
