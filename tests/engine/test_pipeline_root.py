"""Output artifacts below a pipeline root of the user: a folder, or a bucket behind a real emulator
of Cloud Storage."""

import http.server
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.cloud import storage
from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from json_types import JsonDict
from kfgcp import api
from kfgcp.errors import BackendError
from kfgcp.model import Run
from kfgcp.spec.load import from_documents
from kfgcp.spec.write import write as write_spec
from patience import PROCESS, wait_for


@dsl.component(base_image="python:3.11")
def write(data: Output[Dataset], model: Output[Model], text: str) -> str:
    import os

    with open(data.path, "w") as file:
        file.write(text)
    os.makedirs(model.path)
    with open(f"{model.path}/weights.txt", "w") as file:
        file.write("w:" + text)
    data.metadata["rows"] = 2
    return data.uri


@dsl.component(base_image="python:3.11")
def read(data: Input[Dataset], model: Input[Model]) -> str:
    with open(data.path) as one, open(f"{model.path}/weights.txt") as other:
        return one.read() + " " + other.read()


@dsl.pipeline(name="two-steps")
def pipeline(text: str = "héllo") -> str:
    producer = write(text=text)
    return read(data=producer.outputs["data"], model=producer.outputs["model"]).output


@dsl.component(base_image="python:3.11")
def elsewhere(data: Output[Dataset]) -> None:
    import os

    data.uri = "gs://other-bucket/chosen/by/me.txt"
    os.makedirs(os.path.dirname(data.path))
    with open(data.path, "w") as file:
        file.write("mine")


@dsl.pipeline(name="elsewhere")
def writes_elsewhere() -> None:
    elsewhere()


@pytest.fixture
def buckets(monkeypatch: pytest.MonkeyPatch) -> Iterator[storage.Client]:
    """A client of an emulator that has the bucket `kfgcp-tests`; what runs in this test finds it
    too."""
    from gcp_storage_emulator.server import create_server

    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket="kfgcp-tests")
    server.start()
    port = server._api._httpd.server_port
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/credentials.json")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    yield storage.Client.create_anonymous_client()
    server.stop()


@pytest.fixture
def in_bucket(
    home: Path, buckets: storage.Client, execute: Callable[..., Run]
) -> Callable[..., Run]:
    (home / "kfgcp.toml").write_text(
        '[env.local]\nbackend = "local"\npipeline_root = "gs://kfgcp-tests/runs/"\n'
    )
    return execute


@pytest.mark.rule(
    "Artifacts: outputs go below the pipeline root, each attempt's into a folder of its own"
)
def test_outputs_are_uploaded_and_read_back(
    in_bucket: Callable[..., Run], buckets: storage.Client
) -> None:
    run = in_bucket(pipeline)

    assert run.outputs == {"Output": "héllo w:héllo"}, run.error
    uris = {artifact.name: artifact.uri for artifact in run.artifacts}
    root = f"gs://kfgcp-tests/runs/two-steps/{run.run_id}/write/1"
    assert uris == {"data": f"{root}/data", "model": f"{root}/model"}
    assert {artifact.name: dict(artifact.metadata) for artifact in run.artifacts}["data"] == {
        "rows": 2
    }
    objects = {
        blob.name: blob.download_as_text() for blob in buckets.bucket("kfgcp-tests").list_blobs()
    }
    folder = f"runs/two-steps/{run.run_id}/write/1"
    assert objects == {f"{folder}/data": "héllo", f"{folder}/model/weights.txt": "w:héllo"}


@pytest.mark.rule("Caching: a hit whose artifacts are gone is a miss")
def test_a_second_run_is_cached_until_an_object_is_deleted(
    in_bucket: Callable[..., Run], buckets: storage.Client, states: Callable[[Any], dict[str, str]]
) -> None:
    first = in_bucket(pipeline)
    assert states(in_bucket(pipeline)) == {"write": "CACHED", "read": "CACHED"}

    uri = next(artifact.uri for artifact in first.artifacts if artifact.name == "data")
    buckets.bucket("kfgcp-tests").blob(uri.removeprefix("gs://kfgcp-tests/")).delete()
    again = in_bucket(pipeline)

    assert states(again) == {"write": "SUCCEEDED", "read": "SUCCEEDED"}
    cache = again.tasks[0].cache
    assert cache is not None
    assert cache.reason == f"the files of run {first.run_id} were deleted"


def test_a_cached_artifact_is_downloaded_for_the_task_that_reads_it(
    in_bucket: Callable[..., Run], states: Callable[[Any], dict[str, str]]
) -> None:
    first = in_bucket(pipeline)
    handle = api.rerun(first.run_id, from_task="read", in_process=True, check=False)

    run = handle.refresh().snapshot
    assert states(run) == {"write": "CACHED", "read": "SUCCEEDED"}
    assert run.outputs == {"Output": "héllo w:héllo"}


def test_an_artifact_at_a_uri_of_the_tasks_own_choice_is_uploaded_there(
    in_bucket: Callable[..., Run], buckets: storage.Client
) -> None:
    buckets.create_bucket("other-bucket")

    run = in_bucket(writes_elsewhere)

    assert run.artifacts[0].uri == "gs://other-bucket/chosen/by/me.txt", run.error
    assert buckets.bucket("other-bucket").blob("chosen/by/me.txt").download_as_text() == "mine"


def test_an_upload_that_is_refused_fails_the_task(in_bucket: Callable[..., Run]) -> None:
    run = in_bucket(writes_elsewhere)

    assert run.error is not None
    assert run.error.task == "elsewhere"
    assert run.error.message.startswith("gs://other-bucket/chosen/by/me.txt cannot be written: ")
    assert "\n" not in run.error.message


def test_a_bucket_that_is_not_there_is_found_before_anything_starts(
    home: Path, buckets: storage.Client, execute: Callable[..., Run]
) -> None:
    (home / "kfgcp.toml").write_text(
        '[env.local]\nbackend = "local"\npipeline_root = "gs://no-such-bucket/x"\n'
    )

    with pytest.raises(
        BackendError,
        match=r"pipeline root of environment 'local' cannot be used: gs://no-such-bucket",
    ):
        execute(pipeline)

    assert api.list() == []


def test_the_root_may_be_a_folder_beside_kfgcp_toml(
    home: Path, execute: Callable[..., Run], written: Callable[[Run, str], Any]
) -> None:
    (home / "kfgcp.toml").write_text('[env.local]\nbackend = "local"\npipeline_root = "out"\n')

    run = execute(pipeline, {"text": "x"})

    assert run.outputs == {"Output": "x w:x"}, run.error
    file = home / "out" / "two-steps" / run.run_id / "write" / "1" / "data"
    assert file.read_text() == "x"
    assert file.as_uri() in [artifact.uri for artifact in run.artifacts]


class _Stalls(http.server.BaseHTTPRequestHandler):
    """A store that lists an empty bucket and never takes an upload."""

    uploading: threading.Event
    over: threading.Event

    def do_GET(self) -> None:
        body = b'{"kind": "storage#objects", "items": []}'
        self.send_response(404 if "/o/" in self.path else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.uploading.set()
        self.over.wait(PROCESS)

    def log_message(self, *_: object) -> None:
        pass


def test_a_run_ends_although_an_upload_does_not(
    home: Path, compiled: Callable[[Any], JsonDict]
) -> None:
    (home / "kfgcp.toml").write_text(
        '[env.local]\nbackend = "local"\npipeline_root = "gs://kfgcp-tests/runs/"\n'
    )
    write_spec(from_documents([compiled(pipeline)], "test"), home / "pipeline.yaml")
    _Stalls.uploading, _Stalls.over = threading.Event(), threading.Event()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Stalls)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    kfgcp = Path(sys.executable).with_name("kfgcp")
    environ = {
        "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{server.server_port}",
        "NO_GCE_CHECK": "true",
    }
    try:
        with subprocess.Popen([kfgcp, "run", "pipeline.yaml"], env=os.environ | environ) as process:
            assert _Stalls.uploading.wait(PROCESS)
            process.send_signal(signal.SIGINT)
            wait_for(lambda: api.show().snapshot.state == "CANCELLING")
            process.send_signal(signal.SIGINT)
            try:
                assert process.wait(PROCESS) == 6
            finally:
                process.kill()
    finally:
        _Stalls.over.set()
        server.shutdown()
        server.server_close()
    run = api.show().snapshot
    assert {task.path: task.state for task in run.tasks} == {
        "write": "CANCELLED",
        "read": "CANCELLED",
    }
    assert run.state == "CANCELLED"
