"""The component `evaluate_classifier`: metrics of a classifier on a test set.

| Metric | Two classes | More classes |
| --- | --- | --- |
| `accuracy` | share of rows that are predicted correctly | the same |
| `balanced_accuracy` | mean recall of the classes in the test set | the same |
| `precision`, `recall`, `f1` | of the positive class | unweighted mean over the classes that occur\
 or are predicted; an undefined value counts as 0 |
| `log_loss` | in nats | the same |
| `roc_auc` | of the positive class | unweighted mean over the classes in the test set, each\
 against the rest |

The positive class is the second of the sorted classes: `malignant` for `benign` and `malignant`, 1
for 0 and 1, true for false and true.

The confusion matrix has one row for each true class and one column for each predicted class. With
two classes, the ROC curve shows the positive class. With more classes, it is the micro-average,
where each pair of a row and a class is one decision. The curve has at most 200 points. They include
both ends, and are spaced evenly along the curve. At the first point, no row is predicted positive.
The threshold of this point is infinite, and is written as 1.0.

## Limits

- The component leaves out an undefined metric, such as `roc_auc` for a test set with only one
  class. The log names the metric.
- A class that was not in the training set gets a row in the confusion matrix. Its rows count as
  wrong predictions, and as negatives in ROC. `log_loss` would be infinite, so it is left out.
- The model must come from the same minor version of scikit-learn. No code from its files runs.
"""

from kfp import dsl


@dsl.component(base_image="tabular", install_kfp_package=False)  # type: ignore[untyped-decorator]
def evaluate_classifier(
    classifier: dsl.Input[dsl.Model],
    test: dsl.Input[dsl.Dataset],
    target: str,
    metrics: dsl.Output[dsl.Metrics],
    classification_metrics: dsl.Output[dsl.ClassificationMetrics],
) -> None:
    """Measure how well a classifier predicts a test set.

    Args:
        classifier: The model that train_classifier wrote.
        test: The test set, as Parquet.
        target: Name of the column that holds the true classes.
        metrics: accuracy, balanced_accuracy, precision, recall, f1, log_loss, roc_auc.
        classification_metrics: Confusion matrix and ROC curve.
    """
    from kfgcp_components.evaluate.classifier.logic import evaluate
    from kfgcp_components.logs import log
    from kfgcp_components.models import read_model
    from kfgcp_components.tables import read_parquet

    result = evaluate(read_model(classifier.path), read_parquet(test.path), target)
    for name, value in result.metrics.items():
        metrics.log_metric(name, value)
        log(f"{name}: {value:.6g}")
    classification_metrics.log_confusion_matrix(result.categories, result.confusion)
    if result.roc:
        false_positive_rates = [point[0] for point in result.roc]
        true_positive_rates = [point[1] for point in result.roc]
        thresholds = [point[2] for point in result.roc]
        classification_metrics.log_roc_curve(false_positive_rates, true_positive_rates, thresholds)
    for note in result.notes:
        log(note, severity="NOTICE")
