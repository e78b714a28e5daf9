"""`kfgcp env import` with what Terraform puts out."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest


def test_the_outputs_of_an_environment_become_a_table_that_runs_are_submitted_with(
    outputs: dict[str, dict[str, Any]], home: Path, kfgcp: Any
) -> None:
    (home / "outputs.json").write_text(json.dumps(outputs["vertex_ai_alone"]))

    done = kfgcp("env", "import", "dev", "--file", "outputs.json")

    assert done.code == 0, done.err
    assert tomllib.loads((home / "kfgcp.toml").read_text()) == {
        "env": {
            "dev": {
                "backend": "vertex",
                "project": "acme-ml-dev",
                "location": "europe-west4",
                "pipeline_root": "gs://acme-ml-dev-artifacts/growth",
                "service_account": "kfgcp-runner-growth@acme-ml-dev.iam.gserviceaccount.com",
                "labels": {"team": "growth", "environment": "dev", "cost_center": "ml"},
            }
        }
    }


@pytest.mark.parametrize(("key", "backend"), [("fraud", "vertex"), ("fraud-kubeflow", "kubeflow")])
def test_each_team_has_an_environment_on_each_backend(
    outputs: dict[str, dict[str, Any]], home: Path, kfgcp: Any, key: str, backend: str
) -> None:
    (home / "outputs.json").write_text(json.dumps(outputs["all_parts_and_two_teams"]))

    done = kfgcp("env", "import", "mine", "--from", key, "--file", "outputs.json")

    assert done.code == 0, done.err
    table = tomllib.loads((home / "kfgcp.toml").read_text())["env"]["mine"]
    assert (table["backend"], table["labels"]["team"]) == (backend, "fraud")
