"""Tests of the pipeline. `make test` runs them from the folder of kfgcp.toml."""

import pytest

from kfgcp.testing import fails, returns, run


@pytest.fixture
def judged(tmp_path):
    """Return replacements for all tasks, with the verdict of the gate."""
    file = tmp_path / "file"
    file.write_text("made up")

    def replacements(passed):
        return {
            "ingest-table": returns(table=file),
            "split-table": returns(train=file, test=file),
            "train-classifier": returns(classifier=file),
            "evaluate-classifier": returns(metrics={}, classification_metrics={}),
            "fetch-model": returns(model=file, found=True, resolved_version="v-1"),
            "gate-model": returns(metrics={}, passed=passed, reason="made up"),
            "register-model": returns(version="v-2", resource="models/v-2"),
            "promote-model": returns("v-1"),
        }

    return replacements


def test_a_model_that_passes_becomes_the_champion(judged):
    result = run("train", judged(True))

    assert result.ok
    promoted = result.task("promote-model").inputs
    assert (promoted["version"], promoted["expected"]) == ("v-2", "v-1")


def test_a_model_that_does_not_pass_is_not_registered(judged):
    result = run("train", judged(False))

    assert result.ok
    assert result.skipped("register-model")
    assert result.skipped("promote-model")


def test_without_a_registration_nothing_is_promoted(judged):
    result = run("train", judged(True) | {"register-model": fails("quota")})

    assert result.error == "quota"
    assert result.skipped("promote-model")


def test_the_whole_pipeline_registers_a_first_model(tmp_path):
    result = run("train", smoke=True, params={"registry": str(tmp_path)})

    assert result.ok
    assert result.outputs == {"Output": True}
    assert result.ran("promote-model")
    assert result.metric("accuracy") > 0.9
