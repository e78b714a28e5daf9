"""Tests of the pipeline. `make test` runs them from the folder of kfgcp.toml."""

import pytest

from kfgcp.testing import artifact, returns, run, run_component


@pytest.fixture
def measured_at(tmp_path):
    """Return replacements for all tasks before the gate, for a roc_auc."""
    file = tmp_path / "file"
    file.write_text("made up")

    def replacements(roc_auc):
        metrics = {"roc_auc": roc_auc}
        return {
            "ingest-table": returns(table=file),
            "split-table": returns(train=file, test=file),
            "train-classifier": returns(classifier=artifact(file, model="made up")),
            "evaluate-classifier": returns(metrics=metrics, classification_metrics={}),
        }

    return replacements


def test_a_good_model_is_kept(measured_at):
    result = run("train", measured_at(0.99))

    assert result.ok
    assert result.task("keep-model").artifacts["model"].metadata == {"model": "made up"}


def test_a_bad_model_is_not_kept(measured_at):
    result = run("train", measured_at(0.5))

    assert result.ok
    assert result.skipped("keep-model")


def test_a_metric_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="the model has no metric 'auc', only roc_auc"):
        run_component(
            "pipelines/train.py:is_good", metrics={"roc_auc": 0.9}, metric="auc", minimum=0.5
        )


def test_the_whole_pipeline_runs_with_the_smoke_parameters():
    result = run("train", smoke=True)

    assert result.ok
    assert result.metric("roc_auc") > 0.9
    assert result.ran("keep-model")
