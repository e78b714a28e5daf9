"""Pipelines from compiled files, whole and broken."""

import json
import time

import pytest
import yaml

from kfgcp.errors import SpecError, UsageError
from kfgcp.spec.load import from_documents, load
from patience import PROCESS

SMALL = """\
# PIPELINE DEFINITION
components:
  comp-a:
    executorLabel: exec-a
deploymentSpec:
  executors:
    exec-a:
      container:
        image: python:3.11
pipelineInfo:
  name: small
root:
  dag:
    tasks:
      a:
        componentRef:
          name: comp-a
  inputDefinitions:
    parameters:
      day:
        defaultValue: 2024-01-01
        parameterType: STRING
      n:
        defaultValue: 3.0
        parameterType: NUMBER_INTEGER
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
"""


def refused(pipeline: str) -> SpecError:
    with pytest.raises(SpecError) as caught:
        load(pipeline)
    assert "\n" not in caught.value.message
    assert caught.value.__cause__ is None
    assert len(caught.value.message) < 500
    return caught.value


@pytest.mark.parametrize("name", ["p.yaml", "p.yml", "P.YAML"])
def test_a_compiled_yaml_is_loaded(write, name):
    path = write(SMALL, name)
    spec = load(path)
    assert (spec.name, spec.origin, spec.platform_spec) == ("small", path, None)
    assert spec.version == load(path).version
    assert spec.params["n"].default == 3


def test_dates_stay_text(write):
    assert load(write(SMALL)).params["day"].default == "2024-01-01"


def test_a_compiled_json_is_loaded(write):
    path = write(json.dumps(yaml.safe_load(SMALL.replace("2024-01-01", "x")) | {"x": 1}), "p.json")
    assert load(path).name == "small"


def test_two_documents_are_a_pipeline_and_its_platforms(write):
    spec = load(
        write(
            f"{SMALL}---\nplatforms:\n  kubernetes:\n    deploymentSpec: {{executors: {{}}}}\n---\n"
        )
    )
    assert spec.platform_spec == {
        "platforms": {"kubernetes": {"deploymentSpec": {"executors": {}}}}
    }


def test_a_pipeline_job_of_vertex_gives_its_pipeline(write):
    job = {
        "runtimeConfig": {"parameterValues": {"n": 9}},
        "pipelineSpec": yaml.safe_load(SMALL.replace("2024", "x")),
    }
    spec = load(write(json.dumps(job), "job.json"))
    assert (spec.name, spec.params["n"].default) == ("small", 3)


def test_a_pipeline_version_manifest_gives_its_pipeline(write):
    manifest = {
        "apiVersion": "pipelines.kubeflow.org/v2beta1",
        "kind": "PipelineVersion",
        "spec": {
            "pipelineSpec": yaml.safe_load(SMALL.replace("2024-01-01", "x")),
            "platformSpec": {"platforms": {}},
        },
    }
    spec = load(write(yaml.dump(manifest)))
    assert (spec.name, spec.platform_spec) == ("small", {"platforms": {}})
    pipeline = {"apiVersion": "pipelines.kubeflow.org/v2beta1", "kind": "Pipeline", "spec": {}}
    assert load(write(yaml.dump_all([pipeline, manifest]), "both.yaml")).name == "small"
    assert "no spec.pipelineSpec" in refused(write(yaml.dump(pipeline), "only.yaml")).message


def test_aliases_are_accepted_as_long_as_they_do_not_multiply(write):
    text = SMALL.replace(
        "    exec-a:\n      container:", "    exec-b: &b\n      container:"
    ).replace("        image: python:3.11\n", "        image: python:3.11\n    exec-a: *b\n")
    assert load(write(text)).pipeline_spec["deploymentSpec"]["executors"]["exec-a"] == {
        "container": {"image": "python:3.11"}
    }


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("# only a comment\n---\n", "the file is empty"),
        ("just text", "not a compiled pipeline, because it is not a mapping"),
        ("- a\n- b\n", "not a compiled pipeline, because it is not a mapping"),
        ("root:\n  dag: [\n", "pipeline.yaml:3:1: not valid YAML"),
        ("a: 'open\n", "not valid YAML"),
        ("a: \tb\n\t- c", "not valid YAML"),
        (
            "a: 1\nb:\n  c: 1\n  c: 2\n",
            "pipeline.yaml:4:3: not valid YAML: it has the key 'c' twice",
        ),
        ("a: {b: 1, b: 2}", "it has the key 'b' twice"),
        ("a: \x01\n", "not valid YAML"),
        ("a: !!int ''\n", "not valid YAML"),
        ("a: !!bool maybe\n", "not valid YAML"),
        ("a: !!python/object/apply:os.system ['true']\n", "pipeline.yaml:1:4: not valid YAML"),
        ("a: !!binary aGVsbG8=\n", "pipeline.yaml:1: a is of type bytes"),
        ("a: !!set {b, c}\n", "a is of type set"),
        ("a: !!timestamp 2024-01-01\n", "a is of type date"),
        ("a:\n  - 1\n  - .inf\n", "pipeline.yaml:3: a[1] is inf"),
        ("a:\n  1: b\n", "pipeline.yaml:1: a has the key 1; keys must be text"),
        ("? [a, b]\n: c\n", "not valid YAML"),
        ("a: *nowhere\n", "not valid YAML"),
        ("a: &a [*a]\n", "nests deeper than 200 levels"),
        ("a: " + "[" * 10_000 + "]" * 10_000, "nests deeper than 200 levels"),
        ("a: " + "[" * 300_000 + "]" * 300_000, "nests deeper than 200 levels"),
        ("- " * 300_000 + "x", "nests deeper than 200 levels"),
        ("? " * 300_000 + "x", "nests deeper than 200 levels"),
        ("a: " + "{a: " * 300_000 + "}" * 300_000, "nests deeper than 200 levels"),
        ("\n".join(" " * i + "a:" for i in range(2000)), "nests deeper than 200 levels"),
        (BOMB, "aliases that stand for too many"),
        ("a: " + "9" * 5000, "not valid YAML"),
        (f"{SMALL}---\nplatforms: {{}}\n---\na: 1\n", "has 3 YAML documents"),
        (f"platforms: {{}}\n---\n{SMALL}", "the first document is a platform spec"),
        (f"{SMALL}---\nother: 1\n", "platforms is missing"),
    ],
)
def test_a_broken_yaml_is_an_error_that_names_the_place(write, text, message):
    start = time.monotonic()
    assert message in refused(write(text)).message
    assert time.monotonic() - start < PROCESS, "the work grows much faster than the text"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" \n", "the file is empty"),
        ('{"a": 1,\n  "b": x}', "p.json:2:8: not valid JSON"),
        ('{"a": 1, "a": 2}', "it has the key 'a' twice"),
        ('{"a": Infinity}', "JSON has no number Infinity"),
        ('{"a": 1e999}', "p.json:1: a is inf"),
        ('{"a": "\\ud800"}', "a holds characters that are not Unicode text"),
        ("[" * 100_000, "is nested too deeply"),
        ("[" * 500 + "]" * 500, "nests"),
        ("[1, 2]", "it is not a mapping"),
        ('{"a": ' + "9" * 5000 + "}", "kfgcp cannot use this JSON"),
    ],
)
def test_a_broken_json_is_an_error_that_names_the_place(write, text, message):
    assert message in refused(write(text, "p.json")).message


@pytest.mark.parametrize(
    "data", [b"\x00\x01", b"\x1f\x8b\x08\x00binary", b"\xff\xfe", b"PK\x03\x04\xe9"]
)
@pytest.mark.parametrize("name", ["p.yaml", "p.json"])
def test_a_binary_file_is_an_error(write, data, name):
    assert "not a text file" in refused(write(data, name)).message


def test_a_huge_file_is_refused_unread(tmp_path):
    path = tmp_path / "huge.yaml"
    with path.open("wb") as file:
        file.truncate(65 * 2**20)
    assert "larger than 64 MiB" in refused(str(path)).message


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nspec: {}\n", "Argo Workflow", "KFP 2"),
        ("apiVersion: tekton.dev/v1beta1\nkind: PipelineRun\n", "Tekton PipelineRun", "KFP 2"),
        (
            "name: t\nimplementation:\n  container: {image: i}\n",
            "KFP 1 component",
            "load_component_from_file",
        ),
        ("apiVersion: v1\nkind: Pod\n", "Kubernetes manifest of kind Pod", ""),
    ],
)
def test_other_formats_are_recognised_and_have_a_hint(write, text, message, hint):
    error = refused(write(text))
    assert message in error.message
    assert hint in error.hint


def test_a_job_of_kfp_1_has_a_hint_to_compile_it_again(write):
    spec = yaml.safe_load(SMALL.replace("2024-01-01", "x"))
    spec["schemaVersion"] = "2.0.0"
    spec["root"]["inputDefinitions"]["parameters"] = {"n": {"type": "INT"}}
    error = refused(write(json.dumps({"pipelineSpec": spec, "runtimeConfig": {}}), "job.json"))
    assert "root.inputDefinitions.parameters.n.type" in error.message
    assert "KFP 2" in error.hint


def test_a_wrong_field_is_named_with_its_line(write):
    path = write(SMALL.replace("name: comp-a", "name: comp-b"))
    assert refused(path).message == (
        f"{path}:17: root.dag.tasks.a.componentRef.name is 'comp-b', which is not in components."
    )
    path = write(SMALL.replace("      a:\n", "      a: []\n      b:\n"))
    assert refused(path).message == f"{path}:15: root.dag.tasks.a must be a mapping, not a list."
    path = write(json.dumps({"pipelineSpec": {"schemaVersion": "9"}}, indent=1), "job.json")
    assert refused(path).message.startswith(f"{path}:3: schemaVersion is '9'")


def test_a_missing_field_is_named_with_the_line_of_its_parent(write):
    path = write(SMALL.replace("        image: python:3.11\n", "        args: []\n"))
    assert (
        refused(path).message
        == f"{path}:8: deploymentSpec.executors.exec-a.container.image is missing."
    )


def test_documents_that_no_file_could_hold_are_spec_errors():
    loop: dict = {}
    loop["loop"] = loop
    for documents in ([loop], [{1: 2}], [{"a": {1, 2}}], [object()], [None], [], [1, 2, 3], "ab"):
        with pytest.raises(SpecError):
            from_documents(documents, "o")


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "pipeline",
        "pipeline.txt",
        "name@version",
        "nowhere.py",
        "nowhere.yaml",
        "nowhere.py:f",
        ":",
    ],
)
def test_what_names_no_file_is_a_usage_error_that_shows_the_forms(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        load(name)
    assert "file.py:function" in caught.value.hint


def test_a_mistyped_file_name_gets_a_suggestion(write):
    path = write(SMALL, "train.yaml")
    with pytest.raises(UsageError) as caught:
        load(path.replace("train", "trian"))
    assert caught.value.hint == f"Did you mean {path}?"


@pytest.mark.parametrize("name", ["{}:f", "{}:"])
def test_a_compiled_file_has_no_functions(write, name):
    with pytest.raises(UsageError, match="no function"):
        load(name.format(write(SMALL)))


def test_a_file_name_may_hold_a_colon(write):
    assert load(write(SMALL, "a:b.yaml")).name == "small"
    assert (
        load(write("from kfp import dsl\n@dsl.component\ndef c():\n    pass\n", "a:b.py")).name
        == "c"
    )
