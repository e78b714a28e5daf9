"""Importers."""

import pytest
from kfp import dsl

IMAGE = "python:3.11"


@dsl.component(base_image=IMAGE)
def read(data: dsl.Input[dsl.Dataset]) -> str:
    import json

    with open(data.path) as file:
        return json.dumps([file.read(), data.metadata])


@dsl.component(base_image=IMAGE)
def locate(path: str) -> str:
    return path


@dsl.pipeline(name="imports")
def imports(uri: str, note: str = "n"):
    importer = dsl.importer(
        artifact_uri=uri, artifact_class=dsl.Dataset, metadata={"note": note, "k": "v"}
    )
    read(data=importer.output)


@dsl.pipeline(name="reimports")
def reimports(uri: str):
    importer = dsl.importer(artifact_uri=uri, artifact_class=dsl.Dataset, reimport=True)
    read(data=importer.output)


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "some data.csv"
    file.write_text("content")
    return file


@pytest.mark.rule("Importer: the URI comes from a constant or an input")
def test_the_uri_from_an_input_a_constant_and_a_task(execute, written, task, file):
    path = str(file)

    @dsl.pipeline(name="sources")
    def sources(uri: str):
        constant_importer = dsl.importer(artifact_uri=uri, artifact_class=dsl.Dataset)
        constant = dsl.importer(artifact_uri=path, artifact_class=dsl.Dataset)
        locator = locate(path=uri)
        input_importer = dsl.importer(artifact_uri=locator.output, artifact_class=dsl.Dataset)
        read(data=constant_importer.output)
        read(data=constant.output)
        read(data=input_importer.output)

    run = execute(sources, {"uri": path})

    assert [written(run, name)[0] for name in ("read", "read-2", "read-3")] == ["content"] * 3
    assert {artifact.uri for artifact in run.artifacts} == {file.as_uri()}
    assert {artifact.type for artifact in run.artifacts} == {"system.Dataset"}
    assert task(run, "importer").kind == "importer"
    assert file.read_text() == "content"


@pytest.mark.rule("Importer: metadata values may be inputs")
def test_metadata(execute, written, file):
    note = "it's {{$.inputs.parameters['uri']}}"

    @dsl.pipeline(name="metadata")
    def metadata(uri: str, note: str, n: int = 3):
        importer = dsl.importer(
            artifact_uri=uri,
            artifact_class=dsl.Dataset,
            metadata={
                "note": note,
                "number": n,
                "nested": {"list": [note, "x"]},
                note: "key",
                "text": f"<{note}>",
            },
        )
        read(data=importer.output)

    run = execute(metadata, {"uri": str(file), "note": note})

    assert written(run, "read")[1] == {
        "note": note,
        "number": "3",
        "nested": {"list": [note, "x"]},
        note: "key",
        "text": f"<{note}>",
    }


@pytest.mark.rule(
    "Importer: reimport false reuses a known artifact of the same type, URI and metadata; true"
    " makes a new one"
)
def test_without_reimport_tasks_below_are_cached(execute, states, file):
    execute(imports, {"uri": str(file)})

    assert states(execute(imports, {"uri": str(file)})) == {
        "importer": "SUCCEEDED",
        "read": "CACHED",
    }


@pytest.mark.rule(
    "Importer: reimport false reuses a known artifact of the same type, URI and metadata; true"
    " makes a new one"
)
def test_other_metadata_is_another_artifact(execute, states, written, file):
    execute(imports, {"uri": str(file)})
    run = execute(imports, {"uri": str(file), "note": "other"})

    assert states(run) == {"importer": "SUCCEEDED", "read": "SUCCEEDED"}
    assert written(run, "read")[1]["note"] == "other"


@pytest.mark.rule(
    "Importer: reimport false reuses a known artifact of the same type, URI and metadata; true"
    " makes a new one"
)
def test_reimport_makes_a_new_artifact(execute, states, file):
    execute(reimports, {"uri": str(file)})

    assert states(execute(reimports, {"uri": str(file)})) == {
        "importer": "SUCCEEDED",
        "read": "SUCCEEDED",
    }


@pytest.mark.rule("Importer: not cached")
def test_an_importer_is_never_cached(execute, task, file):
    execute(imports, {"uri": str(file)})
    run = execute(imports, {"uri": str(file)}, cache=True)

    assert task(run, "importer").state == "SUCCEEDED"
    assert task(run, "importer").cache is None


@pytest.mark.rule("Importer: the URI comes from a constant or an input")
@pytest.mark.parametrize("uri", ["/nobody/has/this", "", "missing.csv", "/" + "x" * 300, "/a\0b"])
def test_what_is_not_there_fails(uri, execute, states):
    run = execute(imports, {"uri": uri})

    assert run.state == "FAILED"
    assert states(run) == {"importer": "FAILED", "read": "SKIPPED"}


@pytest.mark.parametrize(
    "uri", ["foo://bucket/key", "GS://bucket/key", "://key", "models://churn/1"]
)
def test_a_uri_of_an_unknown_scheme_fails_the_importer(uri, execute, task):
    run = execute(imports, {"uri": uri})

    assert run.error.task == "importer"
    assert run.error.message == (
        f'the URI "{uri}" of the artifact to import has a scheme that no backend knows: use gs://, s3://,'
        " minio://, or a path of this machine"
    )
    assert task(run, "read").state == "SKIPPED"


@pytest.mark.parametrize("uri", ["https://example.com/data.csv", "bq://project.dataset.table"])
def test_what_cannot_be_copied_is_passed_on_and_a_task_that_opens_it_is_told(uri, execute, task):
    run = execute(imports, {"uri": uri})

    assert task(run, "importer").state == "SUCCEEDED"
    assert run.error.task == "read"
    assert run.error.hint.startswith(f"{uri} is an address, not a file.")


@pytest.mark.rule("Artifacts: escapes of a file:// URI are decoded, those of a path are not")
def test_the_uri_of_a_file_is_read_with_its_escapes_and_a_path_without(
    execute, written, states, tmp_path
):
    for name in ("a[0].csv", "a%5B0%5D.csv"):
        (tmp_path / name).write_text(name)
    uri = (tmp_path / "a[0].csv").as_uri()
    assert "%5B0%5D" in uri
    of_uri = execute(imports, {"uri": uri})
    of_path = execute(imports, {"uri": str(tmp_path / "a%5B0%5D.csv")})

    assert written(of_uri, "read")[0] == "a[0].csv"
    assert written(of_path, "read")[0] == "a%5B0%5D.csv"
    assert [artifact.uri for artifact in of_uri.artifacts] == [uri]
    (tmp_path / "a[0].csv").write_text("changed")
    assert states(execute(imports, {"uri": uri}))["read"] == "SUCCEEDED"
