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
                "pipeline_registry": "https://europe-west4-kfp.pkg.dev/acme-ml-dev/kfgcp-kfp",
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
    """Only the addresses and the sign-in are those of the stand-ins. All else is Terraform's."""
    from kfgcp.testing import KubeflowStandIn, VertexStandIn, kubeflow, vertex

    (home / "outputs.json").write_text(json.dumps(outputs["all_parts_and_two_teams"]))
    assert kfgcp("env", "import", name, "--from", key, "--file", "outputs.json").code == 0
    settings = tomllib.loads((home / "kfgcp.toml").read_text())["env"][name]

    stand_in: KubeflowStandIn | VertexStandIn
    if settings["backend"] == "kubeflow":
        stand_in = kubeflow()
    else:
        stand_in = vertex(project=settings["project"], location=settings["location"])
        repository = settings["pipeline_registry"].rsplit("/", 1)[1]
        stand_in.artifact_registry.make_repository(repository)
    with stand_in as env:
        env.make_bucket(settings["pipeline_root"].split("/")[2])
        settings_of_stand_in = {
            "AUTH": "anonymous",
            "API_ENDPOINT": env.api_endpoint,
            "LOGGING_ENDPOINT": env.api_endpoint,
            "ARTIFACT_REGISTRY_ENDPOINT": env.api_endpoint,
            "HOST": env.api_endpoint,
        }
        variables = {"STORAGE_EMULATOR_HOST": env.environ_of(name)["STORAGE_EMULATOR_HOST"]}
        for setting, value in settings_of_stand_in.items():
            variables[f"KFGCP_ENV_{name.upper()}_{setting}"] = value
        result = kfgcp("doctor", "--env", name, env=variables)

    assert result.code == 0, result.out + result.err
    assert settings["pipeline_root"] in result.out
