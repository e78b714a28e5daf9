"""The lines of compiled files, however they are written."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from json_types import JsonDict
from kfgcp.spec import source_document
from kfgcp.spec.load import Spec, load
from kfgcp.spec.source_map import SourceMap, read_source_map

YAML = """\
# PIPELINE DEFINITION
# Name: churn
components:
  comp-for-loop-1:
    dag:
      tasks:
        train:
          componentRef:
            name: comp-train
  comp-train:
    executorLabel: exec-train
deploymentSpec:
  executors:
    exec-train:
      container:
        args:
        - |
          root:
          components:
            comp-train:
        - "text over
          root: lines"
        image: python:3.12
pipelineInfo:
  name: churn
root:
  dag:
    tasks:
      for-loop-1:
        componentRef:
          name: comp-for-loop-1
        parameterIterator:
          itemInput: item
          items:
            raw: '[1, 2]'
      "train-2":
        componentRef:
          name: comp-train
schemaVersion: 2.1.0
"""


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def map_of(name: str, text: str) -> SourceMap:
    Path(name).write_bytes(text.encode())
    return read_source_map(load(name))


def lines_of(source_map: SourceMap) -> list[str]:
    return [
        str(source_map.find_pipeline()),
        str(source_map.find_component("comp-for-loop-1")),
        str(source_map.find_component("comp-train")),
        str(source_map.find_task("for-loop-1")),
        str(source_map.find_task("for-loop-1/train")),
        str(source_map.find_task("train-2")),
    ]


def numbers_of(source_map: SourceMap) -> list[int]:
    return [int(line.rpartition(":")[2]) for line in lines_of(source_map)]


def test_parts_are_where_their_keys_are() -> None:
    source_map = map_of("churn.yaml", YAML)

    assert lines_of(source_map) == [
        "churn.yaml:26",
        "churn.yaml:4",
        "churn.yaml:10",
        "churn.yaml:29",
        "churn.yaml:7",
        "churn.yaml:36",
    ]


def test_methods_do_not_matter_in_a_compiled_file() -> None:
    source_map = map_of("churn.yaml", YAML)

    assert str(source_map.find_task("train-2", ["set_retry"])) == "churn.yaml:36"


def test_what_is_not_in_the_file_has_no_line() -> None:
    source_map = map_of("churn.yaml", YAML)

    assert source_map.find_task("train-3") is None
    assert source_map.find_task("for-loop-1/train/other") is None
    assert source_map.find_component("comp-test") is None


@pytest.mark.parametrize("line_end", ["\r\n", "\n"])
def test_line_ends_of_other_systems(line_end: str) -> None:
    assert numbers_of(map_of("churn.yml", YAML.replace("\n", line_end))) == [26, 4, 10, 29, 7, 36]


def test_a_pipeline_job_around_the_spec() -> None:
    inner = "".join(f"  {line}\n" for line in YAML.splitlines())
    text = f"displayName: churn\npipelineSpec:\n{inner}runtimeConfig: {{}}\n"

    assert numbers_of(map_of("job.yaml", text)) == [28, 6, 12, 31, 9, 38]


def test_a_manifest_after_the_manifest_of_its_pipeline() -> None:
    inner = "".join(f"    {line}\n" for line in YAML.splitlines())
    head = "apiVersion: pipelines.kubeflow.org/v2beta1\n"
    first = f"{head}kind: Pipeline\nmetadata: {{name: churn}}\n"
    second = f"{head}kind: PipelineVersion\nspec:\n  pipelineSpec:\n{inner}"

    # Four lines of the first manifest with its separator, then four before the spec.
    assert numbers_of(map_of("m.yaml", f"{first}---\n{second}")) == [34, 12, 18, 37, 15, 44]


def test_json_with_line_ends() -> None:
    document = json.loads(json.dumps(load_yaml()))

    source_map = map_of("churn.json", json.dumps(document, indent=2))

    text = Path("churn.json").read_text().splitlines()
    for location, key in (
        (source_map.find_pipeline(), "root"),
        (source_map.find_component("comp-train"), "comp-train"),
        (source_map.find_task("for-loop-1/train"), "train"),
        (source_map.find_task("train-2"), "train-2"),
    ):
        assert location is not None
        assert text[location.line - 1].strip().startswith(f'"{key}": {{')


@pytest.mark.parametrize("indent", [None, 4, 1, "\t"])
def test_json_in_other_forms(indent: object) -> None:
    source_map = map_of("churn.json", json.dumps(load_yaml(), indent=indent))

    lines = Path("churn.json").read_text().splitlines()
    location = source_map.find_task("train-2")
    assert location is not None
    assert '"train-2"' in lines[location.line - 1]


def test_yaml_that_indentation_does_not_describe() -> None:
    """A file in one line, and one with the keys in braces."""
    compact = json.dumps(load_yaml())

    assert numbers_of(map_of("churn.yaml", compact)) == [1, 1, 1, 1, 1, 1]

    spread = compact.replace('"train-2"', '\n"train-2"')
    assert numbers_of(map_of("spread.yaml", spread))[-1] == 2


def test_a_text_that_looks_like_the_structure() -> None:
    text = YAML.replace(
        "pipelineInfo:\n",
        'note: "\nroot:\n  dag:\n    tasks:\n      train-2:\n"\npipelineInfo:\n',
    )

    assert numbers_of(map_of("churn.yaml", text)) == [32, 4, 10, 35, 7, 42]


def test_comments_of_yaml_are_not_texts_of_programs() -> None:
    text = (
        YAML.replace(
            "  comp-train:\n    exec", "  # kfgcp: R101 because of it\n  comp-train:\n    exec"
        )
        .replace("          root:\n", "          # kfgcp: K101 because it is a text\n")
        .replace('      "train-2":', '      "train-2":  # kfgcp: V101, V102 because why not')
        .replace("churn\nroot", "churn\n  description: a#kfgcp:V103 because no blank\nroot")
    )
    source_map = map_of("churn.yaml", text)

    comments = [
        (item.rules, item.reason, item.location.line, item.lines) for item in source_map.comments
    ]
    assert comments == [
        (("R101",), "of it", 10, range(11, 12)),
        (("V101", "V102"), "why not", 38, range(38, 39)),
    ]


def test_json_has_no_comments() -> None:
    document = load_yaml()
    document["root"]["dag"]["tasks"]["train-2"]["taskInfo"] = {
        "name": "\n# kfgcp: R101 because it is a text\n"
    }

    assert map_of("churn.json", json.dumps(document, indent=1)).comments == []


def load_yaml() -> JsonDict:
    Path("plain.yaml").write_text(YAML)
    return dict(load("plain.yaml").pipeline_spec)


def big_spec(count: int) -> Spec:
    tasks = {}
    components: dict[str, Any] = {}
    executors = {}
    program = "def train():\n    pass\n" * 10
    for number in range(count):
        tasks[f"train-{number}"] = {"componentRef": {"name": f"comp-train-{number}"}}
        components[f"comp-train-{number}"] = {"executorLabel": f"exec-train-{number}"}
        executors[f"exec-train-{number}"] = {
            "container": {"image": "python:3.12", "command": ["python", "-c", program]}
        }
    document = {
        "pipelineInfo": {"name": "churn"},
        "root": {"dag": {"tasks": tasks}},
        "components": components,
        "deploymentSpec": {"executors": executors},
        "schemaVersion": "2.1.0",
    }
    Path("big.json").write_text(json.dumps(document, indent=2))
    return load("big.json")


def test_a_file_is_not_searched_before_the_first_question(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = big_spec(3)
    searches: list[str] = []
    monkeypatch.setattr(source_document, "_scan_keys", searches.append)
    monkeypatch.setattr(source_document, "value_lines", searches.append)

    assert read_source_map(spec).comments == []
    assert searches == []


def test_a_file_of_5000_tasks_is_searched_without_libyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    """libyaml would need seconds, which is too long for a command."""
    spec = big_spec(5000)
    monkeypatch.setattr(source_document, "value_lines", None)
    source_map = read_source_map(spec)

    started = time.process_time()
    lines = [source_map.find_task(f"train-{number}") for number in range(5000)]
    seconds = time.process_time() - started

    assert None not in lines
    # It takes about 0.15 s. libyaml takes 30 times as long.
    assert seconds < 3
