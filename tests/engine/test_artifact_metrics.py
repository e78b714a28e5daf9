"""Metrics and other numbers in the metadata of artifacts, by semantics.md."""

import json
from pathlib import Path

import pytest
from kfp import dsl

import argo_record
import recorded_runs
from kfgcp.spec.load import load

IMAGE = "python:3.11"


@pytest.mark.rule("Artifacts: metrics live in artifact metadata")
def test_metrics(execute, task):
    @dsl.component(base_image=IMAGE)
    def evaluate(
        scalars: dsl.Output[dsl.Metrics],
        classes: dsl.Output[dsl.ClassificationMetrics],
        sliced: dsl.Output[dsl.SlicedClassificationMetrics],
        page: dsl.Output[dsl.HTML],
        text: dsl.Output[dsl.Markdown],
    ):
        scalars.log_metric("accuracy", 0.9)
        scalars.log_metric("count", 3)
        scalars.metadata["note"] = "text"
        classes.log_confusion_matrix(["a", "b"], [[1, 2], [3, 4]])
        classes.log_roc_curve([0.0, 0.5], [0.0, 1.0], [1.0, 0.5])
        sliced.metadata["evaluationSlices"] = [
            {"slice": "a", "sliceClassificationMetrics": {"recall": 0.5}}
        ]
        with open(page.path, "w") as file:
            file.write("<p>")
        with open(text.path, "w") as file:
            file.write("# x")

    @dsl.pipeline(name="metrics")
    def pipeline():
        evaluate()

    run = execute(pipeline)

    values = {metric.name: metric.value for metric in run.metrics}
    assert {name: values[name] for name in ("accuracy", "count")} == {"accuracy": 0.9, "count": 3}
    assert "note" not in values
    assert {metric.key for metric in run.metrics} == {f"evaluate/scalars/{name}" for name in values}
    by_name = {artifact.name: artifact for artifact in run.artifacts}
    assert {name: artifact.type for name, artifact in by_name.items()} == {
        "scalars": "system.Metrics",
        "classes": "system.ClassificationMetrics",
        "sliced": "system.SlicedClassificationMetrics",
        "page": "system.HTML",
        "text": "system.Markdown",
    }
    matrix = by_name["classes"].metadata["confusionMatrix"]
    assert [row["row"] for row in matrix["rows"]] == [[1, 2], [3, 4]]
    assert by_name["classes"].metadata["confidenceMetrics"][1]["recall"] == 1
    assert by_name["sliced"].metadata["evaluationSlices"][0]["slice"] == "a"
    assert Path(by_name["page"].uri.removeprefix("file://")).read_text() == "<p>"
    json.dumps(run.to_dict(), allow_nan=False)


@pytest.mark.rule(
    "Running a task: a metric that is NaN or infinite fails the task with the metric's name"
)
def test_the_pipelines_with_odd_metrics_end_as_recorded_on_kubeflow(execute, states, task):
    """There, the launcher refused the NaN as JSON: "proto: syntax error (line 1:447): invalid value
    NaN"."""
    failed = execute(load(str(recorded_runs.pipeline("nan-metrics"))))
    succeeded = execute(load(str(recorded_runs.pipeline("odd-metrics"))))

    for name, run in (("nan-metrics", failed), ("odd-metrics", succeeded)):
        recorded = argo_record.expected_tasks(
            recorded_runs.workflow(name), recorded_runs.metadata(name)
        )
        assert states(run) == {path: task.state for path, task in recorded.items()}
    assert states(failed) == {"nan": "FAILED"}
    assert task(failed, "nan").error.message.startswith(
        "the metric 'nan' of output artifact 'metrics' is nan"
    )
    assert failed.metrics == ()
    assert states(succeeded) == {"odd": "SUCCEEDED"}
    # ML Metadata has six decimals; here they are as they were logged.
    assert {metric.name: metric.value for metric in succeeded.metrics} == {
        "big": 2**60,
        "tiny": 1e-300,
        "neg": -1,
    }


@pytest.mark.rule(
    "Running a task: a metric that is NaN or infinite fails the task with the metric's name"
)
@pytest.mark.parametrize(
    ("number", "place", "problem"),
    [
        ("nan", "scalar", "the metric 'loss' of output artifact 'metrics' is nan"),
        ("inf", "scalar", "the metric 'loss' of output artifact 'metrics' is inf"),
        ("-inf", "scalar", "the metric 'loss' of output artifact 'metrics' is -inf"),
        (
            "inf",
            "curve",
            (
                "the metric 'confidenceMetrics' of output artifact 'curve' at"
                " [0].confidenceThreshold is inf"
            ),
        ),
        ("nan", "metadata", "the metadata 'loss' of output artifact 'data' is nan"),
        ("nan", "output", "output 'Output' at [1].k is nan"),
    ],
)
def test_a_number_that_json_does_not_have_fails_the_task(number, place, problem, execute, task):
    @dsl.component(base_image=IMAGE)
    def evaluate(
        number: str,
        place: str,
        metrics: dsl.Output[dsl.Metrics],
        curve: dsl.Output[dsl.ClassificationMetrics],
        data: dsl.Output[dsl.Dataset],
    ) -> list:
        odd = float(number)
        metrics.log_metric("loss", odd if place == "scalar" else 0.5)
        curve.log_roc_curve([0.0], [1.0], [odd if place == "curve" else 0.5])
        data.metadata["loss"] = odd if place == "metadata" else 0.5
        return [1, {"k": odd if place == "output" else 0.5}]

    @dsl.pipeline(name="numbers")
    def pipeline(number: str, place: str):
        evaluate(number=number, place=place)

    run = execute(pipeline, {"number": number, "place": place})

    failed = task(run, "evaluate")
    assert (failed.state, failed.outputs) == ("FAILED", {})
    assert failed.error.message == f"{problem}, a number that JSON cannot carry"
