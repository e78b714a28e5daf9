"""A run whose artifacts are in a bucket of an S3 server."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from json_types import JsonDict
from patience import PROCESS
from s3_servers import REGION, S3Server
from s3_trees import BUCKET

PIPELINE = """
from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

@dsl.component(base_image="python:3.11")
def train(data: Input[Dataset], model: Output[Model]):
    import os
    os.makedirs(model.path)
    with open(data.path) as source, open(os.path.join(model.path, "weights.txt"), "w") as target:
        target.write(source.read().upper())

@dsl.component(base_image="python:3.11")
def evaluate(model: Input[Model]) -> str:
    import os
    with open(os.path.join(model.path, "weights.txt")) as file:
        return file.read()

@dsl.pipeline(name="on-minio")
def pipeline(uri: str) -> str:
    data = dsl.importer(artifact_uri=uri, artifact_class=Dataset)
    trained = train(data=data.output)
    return evaluate(model=trained.outputs["model"]).output
"""


@pytest.mark.rule("Artifacts: remote URIs map to local paths, or to a copy where there is no mount")
def test_a_run_reads_and_writes_where_the_environment_says(
    server: S3Server, home: Path, environment: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    """Also in an engine of its own process, and again from the cache, which looks whether the files
    are there."""
    server.client().put_object(Bucket=BUCKET, Key="input.txt", Body=b"weights")
    (home / "pipe.py").write_text(PIPELINE, encoding="utf-8")
    (home / "kfgcp.toml").write_text(
        f'[env.local]\nbackend = "local"\npipeline_root = "minio://{BUCKET}/runs"\n'
        f's3_endpoint = "{server.url}"\ns3_region = "{REGION}"\n'
    )
    credentials = tmp_path / "credentials"
    credentials.write_text(
        f"[default]\naws_access_key_id = {server.access_key}\naws_secret_access_key ="
        f" {server.secret_key}\n"
    )
    variables = {
        **environment(),
        "AWS_SHARED_CREDENTIALS_FILE": str(credentials),
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",  # the configuration wins
        "no_proxy": "127.0.0.1",
    }

    def kfgcp(*arguments: str) -> JsonDict:
        command = [Path(sys.executable).with_name("kfgcp"), *arguments, "--json"]
        process = subprocess.run(
            command, env=variables, capture_output=True, text=True, check=False, timeout=PROCESS
        )
        answer: JsonDict = json.loads(process.stdout)
        return answer

    run = kfgcp("run", "pipe.py", "-p", f"uri=s3://{BUCKET}/input.txt")

    assert run["state"] == "SUCCEEDED", run["error"]
    assert run["outputs"] == {"Output": "WEIGHTS"}
    model = next(artifact["uri"] for artifact in run["artifacts"] if artifact["name"] == "model")
    assert model.startswith(f"minio://{BUCKET}/runs/")
    key = f"{model.removeprefix(f'minio://{BUCKET}/')}/weights.txt"
    assert server.client().get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"WEIGHTS"

    detached = kfgcp("run", "pipe.py", "-p", f"uri=s3://{BUCKET}/input.txt", "--detach")
    again = kfgcp("watch", detached["run_id"])
    assert again["state"] == "SUCCEEDED", again["error"]
    assert {task["path"]: task["state"] for task in again["tasks"]}["train"] == "CACHED"
