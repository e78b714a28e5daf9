"""Tests of the pipeline. `make test` runs them from the folder of kfgcp.toml."""

import pytest

from kfgcp.testing import returns, run


@pytest.fixture
def verdict(tmp_path):
    """Return replacements for all tasks, with the verdict about drift."""
    file = tmp_path / "file"
    file.write_text("made up")

    def replacements(drifted):
        return {
            "ingest-table*": returns(table=file),
            "profile-table": returns(profile=file, report=file),
            "detect-drift": returns(metrics={}, details=file, report=file, drifted=drifted),
            "*split-table": returns(train=file, test=file),
            "*train-classifier": returns(classifier=file),
            "*evaluate-classifier": returns(metrics={}, classification_metrics={}),
        }

    return replacements


def test_drifted_data_trains_a_model(verdict):
    result = run("retrain", verdict(True))

    assert result.ok
    assert result.ran("*train-classifier")


def test_without_drift_nothing_is_trained(verdict):
    result = run("retrain", verdict(False))

    assert result.ok
    assert result.skipped("*train-classifier")


def test_large_nuclei_are_drift_and_the_same_data_is_not():
    drifted = run("retrain", smoke=True)
    same = run("retrain", smoke=True, params={"data": "data/breast_cancer.csv"})

    assert (drifted.outputs, same.outputs) == ({"Output": True}, {"Output": False})
    assert drifted.metric("roc_auc") > 0.9
    assert same.skipped("*train-classifier")
