"""Artifacts in a bucket: copied before the task that reads them starts, or a clear failure."""

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from json_types import JsonDict
from kfgcp.engine import bucket_copies
from kfgcp.semantics.values import ArtifactValue
from kfgcp.services.storage.problems import StorageProblem
from patience import PROCESS

OBJECTS = {"one/table.csv": b"a,b\n1,2\n", "many/x.txt": b"x", "many/deep/y.txt": b"y"}
SOURCE = """
from kfp import dsl
from kfp.dsl import Dataset, Input

@dsl.component(base_image="python:3.11")
def read(data: Input[Dataset]) -> str:
    import os
    print("started")
    if os.path.isdir(data.path):
        files = []
        for folder, _, names in os.walk(data.path):
            files += [os.path.join(folder, name) for name in names]
        return " ".join(os.path.relpath(f, data.path) + "=" + open(f).read() for f in sorted(files))
    return data.uri + " " + open(data.path).read()

@dsl.pipeline(name="imports")
def pipeline(uri: str) -> str:
    data = dsl.importer(artifact_uri=uri, artifact_class=Dataset)
    return read(data=data.output).output
"""

METRICS_SOURCE = """
from kfp import dsl
from kfp.dsl import Input, Metrics

@dsl.component(base_image="python:3.11")
def read(metrics: Input[Metrics]) -> float:
    return metrics.metadata["auc"]

@dsl.pipeline(name="imports")
def pipeline(uri: str) -> float:
    data = dsl.importer(artifact_uri=uri, artifact_class=Metrics, metadata={"auc": 0.9})
    return read(metrics=data.output).output
"""


class Bucket(http.server.BaseHTTPRequestHandler):
    """Speaks as much of the Cloud Storage JSON API as a download needs: the bucket `shared`."""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        name = unquote(path.partition("/o/")[2])
        if path.startswith("/download/") and name in OBJECTS:
            self.answer(200, OBJECTS[name])
        elif name in OBJECTS:
            self.answer(200, json.dumps(metadata(name)).encode())
        elif path.endswith("/o"):
            asked = {
                key: unquote(value)
                for key, _, value in (pair.partition("=") for pair in query.split("&"))
            }
            self.answer(
                200,
                json.dumps(listing(asked.get("prefix", ""), asked.get("delimiter", ""))).encode(),
            )
        elif name == "denied.csv":
            self.answer(403, b'{"error": {"code": 403, "message": "not\\nallowed"}}')
        else:
            self.answer(404, b'{"error": {"code": 404, "message": "no such object"}}')

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def metadata(name: str) -> dict[str, str]:
    """What Cloud Storage says of an object. It writes 64-bit numbers as text."""
    return {
        "kind": "storage#object",
        "name": name,
        "bucket": "shared",
        "size": str(len(OBJECTS[name])),
        "generation": "7",
    }


def listing(prefix: str, delimiter: str) -> JsonDict:
    """The objects below a prefix; with a delimiter those deeper down only as the prefixes they
    share."""
    rest = {name: name.removeprefix(prefix) for name in OBJECTS if name.startswith(prefix)}
    deeper = {name for name, tail in rest.items() if delimiter and delimiter in tail}
    items = [metadata(name) for name in rest if name not in deeper]
    prefixes = sorted({prefix + rest[name].partition(delimiter)[0] + delimiter for name in deeper})
    return {"kind": "storage#objects", "items": items, "prefixes": prefixes}


@pytest.fixture
def bucket() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def run(home: Path, bucket: str, environment: Callable[..., dict[str, str]]) -> Any:
    (home / "imports.py").write_text(SOURCE, encoding="utf-8")

    def run(uri: str) -> JsonDict:
        process = subprocess.run(
            [
                Path(sys.executable).with_name("kfgcp"),
                "run",
                "imports.py",
                "-p",
                f"uri={uri}",
                "--json",
            ],
            env={
                **environment(),
                "STORAGE_EMULATOR_HOST": bucket,
                "GOOGLE_APPLICATION_CREDENTIALS": "/no/such/credentials.json",
                "NO_GCE_CHECK": "true",
                "no_proxy": "127.0.0.1",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=PROCESS,
        )
        result: dict[str, Any] = json.loads(process.stdout)
        return result

    return run


@pytest.mark.rule("Artifacts: remote URIs map to local paths, or to a copy where there is no mount")
def test_an_object_is_copied_before_the_task_and_keeps_its_uri(run: Any, home: Path) -> None:
    result = run("gs://shared/one/table.csv")
    assert result["outputs"] == {"Output": "gs://shared/one/table.csv a,b\n1,2\n"}, result["error"]
    assert [artifact["uri"] for artifact in result["artifacts"]] == ["gs://shared/one/table.csv"]


@pytest.mark.rule("Artifacts: remote URIs map to local paths, or to a copy where there is no mount")
def test_all_below_a_prefix_is_copied(run: Any) -> None:
    result = run("gs://shared/many")
    assert result["outputs"] == {"Output": "deep/y.txt=y x.txt=x"}, result["error"]


@pytest.mark.rule("Running a task: what cannot be honoured here fails the task before it starts")
@pytest.mark.parametrize("name", ["denied.csv", "absent.csv"])
def test_what_the_store_refuses_fails_the_task_before_it_starts(
    run: Any, home: Path, name: str
) -> None:
    result = run(f"gs://shared/{name}")
    assert result["state"] == "FAILED"
    assert result["error"]["task"] == "read"
    assert result["error"]["message"].startswith(f"gs://shared/{name} cannot be read: ")
    assert "\n" not in result["error"]["message"]
    assert result["error"]["log_tail"] == []


def test_metrics_need_no_object_because_they_are_metadata(run: Any, home: Path) -> None:
    (home / "imports.py").write_text(METRICS_SOURCE, encoding="utf-8")

    result = run("gs://shared/absent.json")

    assert result["outputs"] == {"Output": 0.9}, result["error"]


def test_only_what_is_in_a_bucket_and_not_here_is_copied(tmp_path: Path) -> None:
    items = [
        ArtifactValue("a", "system.Dataset", uri)
        for uri in ("/local", "gs://b/k", "s3://b/k", "https://x/y", "oci://x/y", "gs://b/k")
    ]
    assert bucket_copies.uris_to_download(items, tmp_path) == ["gs://b/k", "s3://b/k"]
    (tmp_path / "gcs" / "b").mkdir(parents=True)
    (tmp_path / "gcs" / "b" / "k").touch()
    assert bucket_copies.uris_to_download(items, tmp_path) == ["s3://b/k"]


def test_a_uri_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    assert (
        bucket_copies.copy_path("gs://../../etc//passwd", tmp_path)
        == tmp_path / "gcs" / "etc" / "passwd"
    )


def test_a_minio_server_with_an_unknown_address_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        StorageProblem,
        match=r"^minio://b/k cannot be read: kfgcp does not know the address of the server",
    ):
        bucket_copies.download("minio://b/k", tmp_path)
