"""Tests of the pipeline. `make test` runs them from the folder of kfgcp.toml."""

import pytest

from kfgcp.testing import artifact, returns, run, run_component

ERRORS = {"linear_regression": 0.6, "ridge": 0.4, "gradient_boosting": 0.5}


def test_the_model_with_the_smallest_error_is_the_best(tmp_path):
    file = tmp_path / "file"
    file.write_text("made up")

    def train(inputs):
        return returns(regressor=artifact(file, model=inputs["model"]))

    def evaluate(inputs):
        return returns(metrics={"rmse": ERRORS[inputs["regressor"].metadata["model"]]})

    result = run(
        "train",
        {
            "ingest-table": returns(table=file),
            "split-table": returns(train=file, test=file),
            "train-regressor": train,
            "evaluate-regressor": evaluate,
        },
    )

    assert result.ok
    assert result.outputs == {"Output": "ridge"}


def test_the_ranking_is_by_error():
    result = run_component("pipelines/train.py:choose_best", models=["a", "b"], errors=[2.0, 1.0])

    assert result.output == "b"


def test_a_metric_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="the model has no metric 'rmes', only rmse"):
        run_component("pipelines/train.py:read_metric", metrics={"rmse": 0.5}, name="rmes")


def test_the_whole_pipeline_runs_with_the_smoke_parameters():
    result = run("train", smoke=True)

    assert result.ok
    assert result.outputs == {"Output": "ridge"}
    assert 0 < result.metric("rmse") < 1
