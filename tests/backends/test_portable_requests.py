"""One pipeline with a GPU and a secret runs unchanged on stand-ins of Vertex AI and Kubeflow:
the bodies that were sent are those in docs/guides/portable.md."""

import base64
import json
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from json_types import JsonDict
from kfgcp import api, testing
from kfgcp.spec.digest import digest
from kfgcp.spec.json_values import JsonObject
from kfgcp.tracking.handle import RunHandle
from kfgcp_command import Command
from patience import PROCESS

ROOT = Path(__file__).parents[2]
PIPELINE = ROOT / "examples" / "gpu_with_secret.py"
GUIDE = (ROOT / "docs" / "guides" / "portable.md").read_text(encoding="utf-8")
VERSION = "projects/my-project/secrets/db/versions/3"
PASSWORD = "correct-horse-battery"  # noqa: S105 - not a real one


def guide_tables(env: str) -> str:
    """The tables of an environment in the first configuration of the guide, as TOML."""
    block = re.findall(r"^```toml\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)[0]
    tables = re.split(r"^(?=\[)", block, flags=re.MULTILINE)
    return "".join(table for table in tables if table.startswith(f"[env.{env}."))


def guide_bodies() -> list[Any]:
    """The bodies in the guide: Kubeflow's, then Vertex'."""
    blocks = re.findall(r"^```json\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    return [json.loads(block) for block in blocks]


def asked_parts(pipeline_spec: JsonObject) -> JsonDict:
    """What a PipelineSpec asks for: the variables and resources of its only container."""
    container = pipeline_spec["deploymentSpec"]["executors"]["exec-train"]["container"]
    asked = {key: container[key] for key in ("env", "resources") if key in container}
    return {"deploymentSpec": {"executors": {"exec-train": {"container": asked}}}}


class SecretManager(BaseHTTPRequestHandler):
    """Google's metadata server, and Secret Manager with one version."""

    def do_GET(self) -> None:
        answers: dict[str, dict[str, Any]] = {
            "/computeMetadata/v1/instance/service-accounts/default/token": {
                "access_token": "token-of-the-task"
            },
            f"/v1/{VERSION}:access": {
                "payload": {"data": base64.b64encode(PASSWORD.encode()).decode()}
            },
        }
        is_metadata = self.path.startswith("/computeMetadata")
        header = "Metadata-Flavor" if is_metadata else "Authorization"
        expected = "Google" if is_metadata else "Bearer token-of-the-task"
        is_accepted = self.path in answers and self.headers.get(header) == expected
        self.send_response(200 if is_accepted else 403)
        self.end_headers()
        self.wfile.write(json.dumps(answers[self.path] if is_accepted else {}).encode())

    def log_message(self, *_: object) -> None:
        """Writes nothing to the output of the tests."""


@contextmanager
def secret_manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), SecretManager)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"127.0.0.1:{server.server_port}"
    monkeypatch.setenv("GCE_METADATA_HOST", address)
    monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER", f"http://{address}/")
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(PROCESS)


def run_there(env: str) -> RunHandle:
    return api.submit(str(PIPELINE), env=env).wait(timeout=PROCESS)


def test_kubeflow_gets_the_resource_the_nodes_and_the_secret_of_the_cluster(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The stand-in takes secrets of the cluster from its own environment.
    monkeypatch.setenv("DB_PASSWORD", PASSWORD)
    with testing.kubeflow() as cluster:
        (home / "kfgcp.toml").write_text(cluster.toml("gke") + "\n" + guide_tables("gke"))

        run = run_there("gke")

        body = next(
            request.body for request in cluster.requests if request.matches("POST", "*/runs")
        )
    documents = body["pipeline_spec"]
    sent = {
        "pipeline_spec": {
            "pipeline_spec": asked_parts(documents["pipeline_spec"]),
            "platform_spec": documents["platform_spec"],
        }
    }
    assert sent == guide_bodies()[0]
    assert run.outputs == {"Output": f"3 epochs, a password of {len(PASSWORD)} characters"}
    assert PASSWORD not in json.dumps(body)


def test_vertex_gets_the_accelerator_and_the_name_of_the_version(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DB_PASSWORD", raising=False)
    with testing.vertex() as service, secret_manager(monkeypatch):
        (home / "kfgcp.toml").write_text(service.toml("dev") + "\n" + guide_tables("dev"))

        run = run_there("dev")

        jobs = [
            request for request in service.requests if request.matches("POST", "*/pipelineJobs")
        ]
    body = jobs[0].body
    assert {"pipelineSpec": asked_parts(body["pipelineSpec"])} == guide_bodies()[1]
    assert run.outputs == {"Output": f"3 epochs, a password of {len(PASSWORD)} characters"}
    assert PASSWORD not in json.dumps(body)


def test_here_the_program_gets_the_variable_and_no_file_has_its_value(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_PASSWORD", PASSWORD)
    (home / "kfgcp.toml").write_text(guide_tables("local"))

    run = run_there("local")

    assert run.outputs == {"Output": f"3 epochs, a password of {len(PASSWORD)} characters"}
    files = [file for file in home.rglob("*") if file.is_file()]
    assert any(b"secret:DB_PASSWORD" in file.read_bytes() for file in files)
    assert [file for file in files if PASSWORD.encode() in file.read_bytes()] == []


def test_the_version_is_that_of_the_text_before_the_translation(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_PASSWORD", PASSWORD)
    with testing.kubeflow(mode="instant") as cluster:
        (home / "kfgcp.toml").write_text(
            cluster.toml("gke") + "\n" + guide_tables("gke") + guide_tables("local")
        )

        there = run_there("gke")
        here = run_there("local")
        listed = api.list(env="gke")

        body = next(
            request.body for request in cluster.requests if request.matches("POST", "*/runs")
        )
    assert digest(body["pipeline_spec"]["pipeline_spec"]) != here.snapshot.version
    assert there.snapshot.version == here.snapshot.version
    assert [run.version for run in listed] == [here.snapshot.version]
    assert there.snapshot.labels["version"] == here.snapshot.labels["version"]


def test_show_says_what_was_translated(home: Path, kfgcp: Command) -> None:
    with testing.kubeflow(mode="instant") as cluster:
        (home / "kfgcp.toml").write_text(cluster.toml("gke") + "\n" + guide_tables("gke"))
        run = run_there("gke")

        shown = kfgcp("show", run.run_id)
        as_json = kfgcp("show", run.run_id, "--json").json

    assert as_json["translation"] == [
        {
            "component": "train",
            "kind": "accelerator",
            "before": "NVIDIA_L4",
            "after": "nvidia.com/gpu on nodes with cloud.google.com/gke-accelerator=nvidia-l4",
            "variable": None,
        },
        {
            "component": "train",
            "kind": "secret",
            "before": "secret:DB_PASSWORD",
            "after": "key password of the Kubernetes secret db",
            "variable": "DB_PASSWORD",
        },
    ]
    assert "TRANSLATED" in shown.out
    assert "nvidia.com/gpu on nodes with" in " ".join(shown.out.split())


def test_a_second_run_of_a_translated_run_is_translated_again(home: Path) -> None:
    with testing.kubeflow(mode="instant") as cluster:
        (home / "kfgcp.toml").write_text(cluster.toml("gke") + "\n" + guide_tables("gke"))
        run = run_there("gke")

        again = api.rerun(run.run_id).wait(timeout=PROCESS)

        bodies = [request.body for request in cluster.requests if request.matches("POST", "*/runs")]
    assert again.snapshot.version == run.snapshot.version
    assert (
        bodies[1]["pipeline_spec"]["platform_spec"] == bodies[0]["pipeline_spec"]["platform_spec"]
    )


def test_the_guide_for_gke_has_gpus_that_vertex_ai_knows() -> None:
    from google.cloud.aiplatform_v1 import AcceleratorType

    guide = (ROOT / "docs" / "guides" / "gke.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```toml\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    table = next(tomllib.loads(block) for block in blocks if "[env.gke.accelerators]" in block)
    names = set(table["env"]["gke"]["accelerators"])

    # As the services call the GPUs that Vertex AI and GKE both have.
    assert {"NVIDIA_TESLA_T4", "NVIDIA_L4", "NVIDIA_TESLA_A100", "NVIDIA_A100_80GB"} <= names
    assert {"NVIDIA_H100_80GB", "NVIDIA_TESLA_V100", "NVIDIA_TESLA_P4"} <= names
    assert names <= {member.name for member in AcceleratorType}
