"""Tests of the pipeline. `make test` runs them from the folder of kfgcp.toml."""

import pytest

from kfgcp.testing import returns, run


@pytest.fixture
def registry_with(tmp_path):
    """Return replacements for all tasks, with or without a model in the registry."""
    file = tmp_path / "file"
    file.write_text("made up")

    def replacements(found):
        version = "v-1" if found else ""
        return {
            "*ingest-table*": returns(table=file),
            "fetch-model": returns(model=file, found=found, resolved_version=version),
            "*train-classifier": returns(classifier=file),
            "*register-model": returns(version="v-1", resource="models/v-1"),
            "*promote-model": returns(""),
            "*predict-batch*": returns(3, predictions=file),
        }

    return replacements


def test_the_model_in_use_predicts(registry_with):
    result = run("predict", registry_with(True))

    assert result.ok
    assert result.outputs == {"Output": 3}
    assert result.skipped("*train-classifier")


def test_without_a_model_a_first_one_is_trained_and_promoted(registry_with):
    result = run("predict", registry_with(False))

    assert result.ok
    assert result.ran("*promote-model")
    assert result.task("*promote-model").inputs["expected"] == "none"


def test_the_whole_pipeline_predicts_each_row_twice_with_the_same_model(tmp_path):
    params = {"registry": str(tmp_path)}
    first = run("predict", smoke=True, params=params)
    second = run("predict", smoke=True, params=params)

    assert first.outputs == second.outputs == {"Output": 569}
    assert first.ran("*register-model")
    assert second.skipped("*register-model")
