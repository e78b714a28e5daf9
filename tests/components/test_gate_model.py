"""The component `gate_model`: its outputs, and the models that it reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sklearn
from kfp import dsl

from kfgcp_components import gate_model
from kfgcp_components.evaluate.gate.logic import read_champion
from kfgcp_components.tables import write_parquet
from model_files import TABLE, change_description, copy_model


def run_gate(tmp_path: Path, challenger: str, champion: str | None, **arguments: Any) -> Any:
    write_parquet(TABLE, tmp_path / "test")
    copy_model(challenger, tmp_path / "challenger")
    champion_artifact = None
    if champion:
        copy_model(champion, tmp_path / "champion")
        champion_artifact = dsl.Model(name="champion", uri=str(tmp_path / "champion"))
    metrics = dsl.Metrics(name="metrics", uri=str(tmp_path / "metrics"))
    outputs = gate_model.python_func(
        challenger=dsl.Model(name="challenger", uri=str(tmp_path / "challenger")),
        champion=champion_artifact,
        test=dsl.Dataset(name="test", uri=str(tmp_path / "test")),
        target="label",
        metrics=metrics,
        **arguments,
    )
    json.dumps(metrics.metadata, allow_nan=False)
    return outputs


def test_the_component_without_a_champion(tmp_path: Path) -> None:
    passed, reason = run_gate(tmp_path, "random_forest", None, thresholds=["accuracy >= 0.8"])
    assert passed is True
    assert reason == (
        "all thresholds hold: accuracy >= 0.8; no champion was given, so the models were not"
        " compared"
    )


def test_the_component_with_a_champion(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    passed, reason = run_gate(tmp_path, "random_forest", "logistic_regression")
    assert passed is True
    line = json.loads(capsys.readouterr().out)
    assert line == {"severity": "INFO", "message": f"passed: {reason}"}


def test_the_component_refuses_a_copy_of_the_champion(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the challenger and the champion are the same model"):
        run_gate(tmp_path, "random_forest", "random_forest")


def test_an_empty_or_missing_folder_is_no_champion(tmp_path: Path) -> None:
    assert read_champion(tmp_path) is None
    assert read_champion(tmp_path / "missing") is None
    (tmp_path / "other.txt").write_text("x")
    with pytest.raises(ValueError, match=r"no model\.json"):
        read_champion(tmp_path)


def test_a_champion_of_another_scikit_learn_fails_the_task(tmp_path: Path) -> None:
    champion = copy_model("logistic_regression", tmp_path / "champion")

    def change(document: dict[str, Any]) -> None:
        document["libraries"]["scikit-learn"] = "0.24.2"

    change_description(champion, change)
    with pytest.raises(ValueError) as caught:
        read_champion(champion)
    assert str(caught.value) == (
        f"the champion cannot be compared: the model in {champion} was trained with scikit-learn"
        f" 0.24.2, and this environment has {sklearn.__version__}; train the model again, or"
        " install scikit-learn 0.24.2"
    )
