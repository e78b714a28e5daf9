"""`kfgcp env import` with what Terraform puts out."""

import json
import tomllib
from pathlib import Path

import pytest

from json_types import JsonDict
from kfgcp_command import Command


def test_the_outputs_of_an_environment_become_a_table_that_runs_are_submitted_with(
    outputs: dict[str, JsonDict], home: Path, kfgcp: Command
) -> None:
    (home / "outputs.json").write_text(json.dumps(outputs["vertex_ai_alone"]))

    result = kfgcp("env", "import", "dev", "--file", "outputs.json")

    assert result.code == 0, result.err
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
    outputs: dict[str, JsonDict], home: Path, kfgcp: Command, key: str, backend: str
) -> None:
    (home / "outputs.json").write_text(json.dumps(outputs["all_parts_and_two_teams"]))

    result = kfgcp("env", "import", "mine", "--from", key, "--file", "outputs.json")

    assert result.code == 0, result.err
    table = tomllib.loads((home / "kfgcp.toml").read_text())["env"]["mine"]
    assert (table["backend"], table["labels"]["team"]) == (backend, "fraud")


@pytest.mark.parametrize(("key", "name"), [("fraud", "dev"), ("fraud-kubeflow", "gke")])
def test_doctor_is_content_with_what_was_imported(
    outputs: dict[str, JsonDict], home: Path, kfgcp: Command, key: str, name: str
) -> None:
    """Only the addresses are the stand-ins', and the sign-in that a proxy would want; all else is
    Terraform's."""
    from kfgcp.testing import kubeflow, vertex

    (home / "outputs.json").write_text(json.dumps(outputs["all_parts_and_two_teams"]))
    assert kfgcp("env", "import", name, "--from", key, "--file", "outputs.json").code == 0
    settings = tomllib.loads((home / "kfgcp.toml").read_text())["env"][name]

    on_kubeflow = settings["backend"] == "kubeflow"
    with (
        kubeflow()
        if on_kubeflow
        else vertex(project=settings["project"], location=settings["location"]) as env
    ):
        env.make_bucket(settings["pipeline_root"].split("/")[2])
        led = {
            key: value for key, value in env.environ_of(name).items() if key.startswith("STORAGE_")
        }
        keys = ("API_ENDPOINT", "LOGGING_ENDPOINT", "ARTIFACT_REGISTRY_ENDPOINT", "HOST")
        led |= {f"KFGCP_ENV_{name.upper()}_{key}": env.api_endpoint for key in keys}
        result = kfgcp(
            "doctor", "--env", name, env=led | {f"KFGCP_ENV_{name.upper()}_AUTH": "anonymous"}
        )

    assert result.code == 0, result.out + result.err
    assert settings["pipeline_root"] in result.out
