"""Two tasks that both report the metric `accuracy` in an artifact of the same name."""

from kfp import dsl
from kfp.dsl import Dataset, Metrics, Output


@dsl.component(base_image="python:3.11")
def evaluate(score: float, metrics: Output[Metrics], predictions: Output[Dataset]):
    metrics.log_metric("accuracy", score)
    with open(predictions.path, "w") as file:
        file.write("1,0,1")


@dsl.pipeline(name="two-scores")
def two_scores(first: float = 0.5, second: float = 0.75):
    evaluate(score=first).set_display_name("one")
    evaluate(score=second)
