"""Artifacts and outputs."""

import json
from pathlib import Path

import pytest
from kfp import dsl

from kfgcp.semantics.placeholders import local_path

IMAGE = "python:3.11"


@dsl.component(base_image=IMAGE)
def write(content: str, data: dsl.Output[dsl.Dataset], model: dsl.Output[dsl.Model]):
    with open(data.path, "w") as file:
        file.write(content)
    data.metadata["rows"] = 3
    data.metadata["schema"] = {"x": [1, 2]}
    model.framework = "none"


@dsl.component(base_image=IMAGE)
def inspect(data: dsl.Input[dsl.Dataset]) -> str:
    import json

    with open(data.path) as file:
        return json.dumps([file.read(), data.metadata, data.schema_title, data.name])


@dsl.component(base_image=IMAGE)
def number(x: int) -> int:
    return x


@pytest.mark.rule("Artifacts: the output URI is pipeline_root/pipeline/run/task/unique/name")
def test_the_uri_of_an_output(execute, home):
    @dsl.pipeline(name="uris")
    def uris():
        with dsl.ParallelFor([1, 2]):
            write(content="x")

    run = execute(uris)

    data = [artifact for artifact in run.artifacts if artifact.name == "data"]
    assert len({artifact.uri for artifact in data}) == 2
    for artifact in data:
        path = Path(artifact.uri.removeprefix("file://").replace("%5B", "[").replace("%5D", "]"))
        root, pipeline, run_id, *task, unique, name = path.relative_to(home / ".kfgcp").parts
        assert (root, pipeline, run_id, name) == ("artifacts", "uris", run.run_id, "data")
        assert "/".join(task) == artifact.task
        assert unique == "1"
        assert path.read_text() == "x"


@pytest.mark.rule("Artifacts: metadata, type and content reach the consumer")
def test_what_a_consumer_sees(execute, task, written):
    @dsl.pipeline(name="consumes")
    def consumes():
        producer = write(content="it's\n{{$}}")
        inspect(data=producer.outputs["data"])

    run = execute(consumes)

    content, metadata, kind, _name = written(run, "inspect")
    assert (content, metadata, kind) == (
        "it's\n{{$}}",
        {"rows": 3, "schema": {"x": [1, 2]}},
        "system.Dataset",
    )
    model = next(artifact for artifact in run.artifacts if artifact.name == "model")
    assert (model.type, model.metadata, model.task) == (
        "system.Model",
        {"framework": "none"},
        "write",
    )


@pytest.mark.rule("Artifacts: values in the executor's output file win over the parameter files")
def test_the_output_file_wins(execute, task, compiled):
    @dsl.component(base_image=IMAGE)
    def overwrites() -> int:
        import atexit
        import glob
        import json
        import os

        def late():
            folder = os.environ["KFGCP_FOLDER"]
            for file in glob.glob(f"{folder}/**/executor_output.json", recursive=True):
                with open(file, "w") as out:
                    json.dump({"parameterValues": {"Output": 99}}, out)

        atexit.register(late)
        return 1

    @dsl.pipeline(name="wins")
    def wins(folder: str):
        overwrites().set_env_variable("KFGCP_FOLDER", "placeholder")

    import os

    spec = compiled(wins)
    spec["deploymentSpec"]["executors"]["exec-overwrites"]["container"]["env"][0]["value"] = (
        os.getcwd() + "/.kfgcp"
    )
    run = execute(spec, {"folder": ""})

    assert task(run, "overwrites").outputs == {"Output": 99}


@pytest.mark.rule("Artifacts: a missing output parameter fails the task and says which")
def test_a_missing_output_parameter(execute, task):
    @dsl.component(base_image=IMAGE)
    def forgets(out: dsl.OutputPath(str), other: dsl.OutputPath(str)):
        with open(other, "w") as file:
            file.write("x")

    @dsl.component(base_image=IMAGE)
    def leaves() -> int:
        import sys

        sys.exit(0)

    @dsl.pipeline(name="missing")
    def missing():
        forgets()
        leaves()

    run = execute(missing)

    assert run.state == "FAILED"
    assert "output 'out' is missing" in task(run, "forgets").error.message
    assert "output 'Output' is missing" in task(run, "leaves").error.message
    assert task(run, "forgets").outputs == {}


@pytest.mark.rule("Artifacts: parameters at a file each")
@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("STRING", "it's\n{{$}}", "it's\n{{$}}"),
        ("STRING", "", ""),
        ("NUMBER_INTEGER", "12", 12),
        ("NUMBER_DOUBLE", "0.5", 0.5),
        ("BOOLEAN", "True", True),
        ("BOOLEAN", "false", False),
        ("LIST", '[1, 2.0, {"a": null}]', [1, 2, {"a": None}]),
        ("STRUCT", '{"k": [1]}', {"k": [1]}),
    ],
)
def test_a_parameter_in_a_file(kind, text, value, execute, compiled, task):
    run = execute(writing(compiled, kind), {"text": text})

    assert task(run, "writes").outputs == {"out": value}


@dsl.component(base_image=IMAGE)
def writes(text: str, out: dsl.OutputPath(str)):
    with open(out, "wb") as file:
        file.write(text.encode("latin-1") if text.startswith("\xff") else text.encode())


def writing(compiled, kind):
    @dsl.pipeline(name="files")
    def pipeline(text: str):
        writes(text=text)

    spec = compiled(pipeline)
    spec["components"]["comp-writes"]["outputDefinitions"]["parameters"]["out"]["parameterType"] = (
        kind
    )
    return spec


@pytest.mark.rule("Artifacts: parameters at a file each")
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("NUMBER_INTEGER", "2.5"),
        ("NUMBER_INTEGER", ""),
        ("NUMBER_INTEGER", "9" * 5000),
        ("NUMBER_DOUBLE", "x"),
        ("BOOLEAN", "1"),
        ("LIST", "{}"),
        ("LIST", "[" * 100_000),
        ("LIST", "[" * 400 + "]" * 400),
        ("STRUCT", "[]"),
        ("STRUCT", "no json"),
        ("STRING", "\xff\xfe"),
    ],
)
def test_a_file_of_the_wrong_kind_fails_the_task(kind, text, execute, compiled, task):
    run = execute(writing(compiled, kind), {"text": text})

    assert run.state == "FAILED"
    assert "output 'out'" in task(run, "writes").error.message
    assert len(task(run, "writes").error.message) < 300


@pytest.mark.rule("Artifacts: a failed task publishes no outputs but keeps its logs")
def test_a_failed_task_publishes_nothing(execute, task, log):
    @dsl.component(base_image=IMAGE)
    def fails(data: dsl.Output[dsl.Dataset], metrics: dsl.Output[dsl.Metrics]) -> int:
        with open(data.path, "w") as file:
            file.write("half")
        metrics.log_metric("x", 1)
        print("before")
        raise ValueError("on purpose")

    @dsl.pipeline(name="fails")
    def pipeline():
        fails()

    run = execute(pipeline)

    assert task(run, "fails").outputs == {}
    assert run.artifacts == ()
    assert run.metrics == ()
    assert log(run, "fails")[0] == "before"
    assert task(run, "fails").error.log_tail[-1] == "ValueError: on purpose"


@pytest.mark.rule("Artifacts: lists of artifacts as inputs and outputs")
def test_lists_of_artifacts(execute, written):
    from typing import List  # noqa: UP035

    @dsl.component(base_image=IMAGE)
    def read_all(data: dsl.Input[List[dsl.Dataset]]) -> str:  # noqa: UP006
        import json

        return json.dumps([[open(one.path).read(), one.metadata["rows"]] for one in data])

    @dsl.pipeline(name="inner")
    def inner() -> List[dsl.Dataset]:  # noqa: UP006
        with dsl.ParallelFor(["a", "b", "c"]) as item:
            producer = write(content=item)
        return dsl.Collected(producer.outputs["data"])

    @dsl.pipeline(name="lists")
    def lists():
        read_all(data=inner().output)

    run = execute(lists)

    assert written(run, "read-all") == [["a", 3], ["b", 3], ["c", 3]]


@pytest.mark.rule("Artifacts: the executor's output file holds uri, metadata and custom path")
def test_custom_uris_and_paths(execute, written, tmp_path):
    @dsl.component(base_image=IMAGE)
    def custom(
        folder: str,
        data: dsl.Output[dsl.Dataset],
        other: dsl.Output[dsl.Artifact],
        tree: dsl.Output[dsl.Artifact],
    ):
        import os

        data.uri = f"{folder}/mine"
        with open(data.path, "w") as file:
            file.write("mine")
        other.custom_path = f"{folder}/custom"
        with open(other.path, "w") as file:
            file.write("custom")
        tree.custom_path = f"{folder}/tree"
        os.makedirs(f"{tree.path}/sub")
        with open(f"{tree.path}/sub/leaf", "w") as file:
            file.write("leaf")

    @dsl.component(base_image=IMAGE)
    def read(
        data: dsl.Input[dsl.Dataset], other: dsl.Input[dsl.Artifact], tree: dsl.Input[dsl.Artifact]
    ) -> str:
        import json

        return json.dumps(
            [open(path).read() for path in (data.path, other.path, f"{tree.path}/sub/leaf")]
        )

    @dsl.pipeline(name="custom")
    def pipeline(folder: str):
        producer = custom(folder=folder)
        read(
            data=producer.outputs["data"],
            other=producer.outputs["other"],
            tree=producer.outputs["tree"],
        )

    run = execute(pipeline, {"folder": str(tmp_path)})

    assert written(run, "read") == ["mine", "custom", "leaf"]
    assert (
        next(artifact.uri for artifact in run.artifacts if artifact.name == "data")
        == (tmp_path / "mine").as_uri()
    )


@pytest.mark.rule("Artifacts: the executor's output file holds uri, metadata and custom path")
def test_get_uri(execute, written, home):
    @dsl.component(base_image=IMAGE)
    def uses() -> str:
        import json
        import os

        from kfp import dsl

        os.makedirs(dsl.get_uri("more"))
        return json.dumps([dsl.get_uri(), dsl.get_uri("more")])

    @dsl.pipeline(name="uses")
    def pipeline():
        uses()

    run = execute(pipeline)

    one, two = written(run, "uses")
    assert one.startswith(str(home / ".kfgcp" / "artifacts"))
    assert run.run_id in one
    assert Path(two).is_dir()


@pytest.mark.rule("Artifacts: types system.* and google.*")
def test_google_types(execute, compiled, task):
    @dsl.pipeline(name="google")
    def pipeline():
        producer = write(content="x")
        inspect(data=producer.outputs["data"])

    spec = compiled(pipeline)
    model = {"schemaTitle": "google.VertexModel", "schemaVersion": "0.0.1"}
    spec["components"]["comp-write"]["outputDefinitions"]["artifacts"]["model"]["artifactType"] = (
        model
    )
    run = execute(spec)

    assert (
        next(artifact for artifact in run.artifacts if artifact.name == "model").type
        == "google.VertexModel"
    )


@pytest.mark.rule("Artifacts: remote URIs map to local paths inside the task")
@pytest.mark.parametrize(("scheme", "mount"), [("gs", "/gcs"), ("s3", "/s3"), ("minio", "/minio")])
def test_remote_uris(scheme, mount):
    assert local_path(f"{scheme}://bucket/a b/c") == f"{mount}/bucket/a b/c"


@dsl.component(base_image=IMAGE)
def rename(uri: str, data: dsl.Output[dsl.Artifact]):
    import json

    data.uri = json.loads(uri)


@pytest.mark.rule("Artifacts: the executor's output file holds uri, metadata and custom path")
@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("/" + "x" * 300, "file:///" + "x" * 300),
        ("/a\0b", "file:///a%00b"),
        ("gs://bucket/" + "x" * 300, "gs://bucket/" + "x" * 300),
        ("gs://" + "x" * 300, "gs://" + "x" * 300),
    ],
)
def test_a_uri_that_no_file_can_have_is_kept_as_it_is(execute, states, uri, shown):
    @dsl.pipeline(name="renames")
    def renames(uri: str):
        rename(uri=uri)

    run = execute(renames, {"uri": json.dumps(uri)})

    assert states(run) == {"rename": "SUCCEEDED"}
    assert [artifact.uri for artifact in run.artifacts] == [shown]


def test_a_uri_that_is_not_text_fails_the_task(execute, states):
    @dsl.pipeline(name="renames")
    def renames(uri: str):
        rename(uri=uri)

    run = execute(renames, {"uri": '"/\\ud800"'})

    assert states(run) == {"rename": "FAILED"}
    assert (
        run.error.message
        == "the URI of output artifact 'data' holds characters that are not Unicode text"
    )
