"""The component `gate_model`: decide whether a model may be used.

The gate has two kinds of conditions. All of them must hold.

- **Thresholds** on metrics of the challenger, such as `roc_auc >= 0.8` or `log_loss < 0.4`.
- **A champion**: the challenger must be better on the same test set, by more than `minimum_effect`.
  Without a champion, as before the first model, only the thresholds count.

The outputs are `passed` and `reason`. A condition of the pipeline can use `passed`:

```python
gate = gate_model(challenger=..., test=..., target="y", thresholds=["roc_auc >= 0.8"])
with dsl.If(gate.outputs["passed"] == True):
    ...
```

The comparison is a paired bootstrap: the code computes for each row how much it counts for the
challenger, and resamples these numbers. Two bootstraps must agree, percentile and studentized, and
the p-value is the larger of both. One more row takes part: a copy of the worst row for the
challenger. For `balanced_accuracy`, `precision`, `recall` and `f1`, it is a row that the champion
gets right and the challenger wrong. For `balanced_accuracy` and `recall`, each class is resampled
on its own. The challenger passes if the p-value is at most `alpha`. In simulations, also of
skewed errors, a model that is not better by more than `minimum_effect` passes with a probability
below `alpha`. For the metrics of small classes, exact sums over all tables show the same.
Decision 28 in `docs/decisions` has the figures and the limits.

A comparison fails where the test set says too little, and `reason` says why:

- The test set has fewer than 30 rows.
- A metric that is computed by class (`balanced_accuracy`, `precision`, `recall`, `f1`, `roc_auc`)
  has fewer than 10 rows of a class. For `precision`, the predictions of each class count too.
- A few large errors decide. For `log_loss` and the metrics of regressors, the rows where the
  challenger gains less than on average must weigh as much as 10 rows. This does not apply to a
  challenger that gains at least `minimum_effect` on every row.

A metric that is undefined, such as `roc_auc` on a test set with one class, fails. `reason` says so.

| Metric | Meaning |
| --- | --- |
| the metric of each threshold | of the challenger |
| `challenger_<metric>`, `champion_<metric>` | the compared metric |
| `improvement` | their difference, positive where the challenger is better |
| `improvement_lower_bound` | the improvement is larger with the confidence 1 - `alpha` |
| `p_value` | of the comparison |

## Limits

- The gate refuses to compare a model with itself (the SHA-256 of the content counts, not the
  path), models for different tasks, or classifiers with different classes.
- A champion that was trained with another minor version of scikit-learn fails the task. The error
  names the model and both versions. Only a missing or empty folder means "no champion yet".
- Neither model may have been trained on rows of the test set. The gate cannot know this.
- Asking the gate again and again with the same test set finds a lucky model sooner or later. Use a
  new test set, or a smaller `alpha`.
- `median_absolute_error` and `max_error` can have thresholds, but cannot be compared.
- A small difference needs many rows. With 1,000 rows, the gate seldom sees an improvement of 0.01
  in accuracy. With skewed errors, `mae` needs fewer rows than `rmse`.
- With few rows, the gate seldom promotes a regressor.
- Errors that are too rare to occur in the test set cannot be seen by any test.
"""

from typing import NamedTuple

from kfp import dsl


@dsl.component(base_image="tabular", install_kfp_package=False)  # type: ignore[untyped-decorator]
def gate_model(
    challenger: dsl.Input[dsl.Model],
    test: dsl.Input[dsl.Dataset],
    target: str,
    metrics: dsl.Output[dsl.Metrics],
    champion: dsl.Input[dsl.Model] = None,
    # A plain list, because kfp before 2.15 takes list[str] for the name of an artifact type.
    thresholds: list = [],  # type: ignore[type-arg]  # noqa: B006 - KFP takes the default from here
    metric: str = "",
    minimum_effect: float = 0.0,
    alpha: float = 0.05,
    resamples: int = 2000,
    seed: int = 0,
) -> NamedTuple("Outputs", [("passed", bool), ("reason", str)]):  # type: ignore[valid-type]
    """Decide whether a model may be used.

    Args:
        challenger: The new model, from train_classifier or train_regressor.
        test: The test set, as Parquet. No model may have been trained on its rows.
        target: Name of the column that holds the true values.
        champion: The model in use. Without one, or with an empty folder, only the thresholds count.
        thresholds: Conditions on metrics of the challenger, such as ["roc_auc >= 0.8"].
        metric: The metric to compare. Empty means accuracy for a classifier, and rmse for a
            regressor.
        minimum_effect: Improvement that the challenger has to exceed, in the unit of the metric.
        alpha: Largest acceptable probability to pass a challenger that is not better.
        resamples: Number of resamples of the bootstrap.
        seed: Seed of the resamples.
        metrics: The metrics of the thresholds and of the comparison.
        passed: Whether all conditions hold.
        reason: One line that says which conditions hold or fail.
    """
    from kfgcp_components.evaluate.gate.logic import ComparisonRule, decide, read_champion
    from kfgcp_components.logs import log
    from kfgcp_components.models import read_model
    from kfgcp_components.tables import read_parquet

    decision = decide(
        read_model(challenger.path),
        read_parquet(test.path),
        target,
        champion=None if champion is None else read_champion(champion.path),
        thresholds=thresholds,
        rule=ComparisonRule(metric, minimum_effect, alpha, resamples, seed),
    )
    for name, value in decision.metrics.items():
        metrics.log_metric(name, value)
    verdict = "passed" if decision.passed else "not passed"
    log(f"{verdict}: {decision.reason}", severity="INFO" if decision.passed else "WARNING")
    return (decision.passed, decision.reason)
