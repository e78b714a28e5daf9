"""What an attempt reads and writes: its ExecutorInput before, its outputs after."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from kfgcp import file_uris
from kfgcp.engine import remote
from kfgcp.engine.layout import Layout, file_name
from kfgcp.semantics.nodes import Node
from kfgcp.semantics.values import ArtifactValue, ValueProblem, Values, carried, coerce, parse_text
from kfgcp.spec.graph import Component
from kfgcp.spec.json_values import whole

T = TypeVar("T")

OUTPUT_FILE = "executor_output.json"


def executor_input(node: Node, inputs: Values, layout: Layout) -> dict[str, Any]:
    """The ExecutorInput of a node's next attempt, in its JSON form; who executes it makes the folders of its outputs.

    Args:
        node: the task.
        inputs: its values, defaults filled in.
        layout: where the run keeps its files.
    """
    folder = layout.attempt(node.path, node.attempts)
    parameters = layout.outputs(node.path, node.attempts)
    artifacts = {
        name: ArtifactValue(name, kind.type, layout.uri(node.path, node.attempts, name), kind.metadata, kind.version)
        for name, kind in node.component.output_artifacts.items()
    }
    return {
        "inputs": {
            "parameterValues": dict(inputs.params),
            "artifacts": {
                name: {"artifacts": [item.to_wire() for item in items]} for name, items in inputs.artifacts.items()
            },
        },
        "outputs": {
            "parameters": {
                name: {"outputFile": str(parameters / file_name(name))} for name in node.component.output_params
            },
            "artifacts": {name: {"artifacts": [item.to_wire()]} for name, item in artifacts.items()},
            "outputFile": str(folder / OUTPUT_FILE),
        },
    }


def read_outputs(component: Component, wire: Mapping[str, Any], copies: Path) -> Values:
    """What an attempt that exited with 0 put out.

    Values in the executor's output file win over the parameters' own files (semantics.md, Artifacts and outputs).

    Args:
        component: declares the outputs.
        wire: the attempt's ExecutorInput.
        copies: the folder where what goes to a bucket was written, see `kfgcp.engine.remote`.

    Raises:
        ValueProblem: an output parameter is missing or of the wrong type, or the output file is not JSON.
    """
    written = _output_file(Path(wire["outputs"]["outputFile"]))
    values = _field(written, "parameterValues", dict, "the task")
    params = {}
    for name, declared in component.output_params.items():
        what = f"output '{name}'"
        file = Path(wire["outputs"]["parameters"][name]["outputFile"])
        if name in values:
            params[name] = coerce(carried(values[name], what), declared, what)
        elif file.is_file():
            params[name] = parse_text(_text(file, what), declared, what)
        elif not declared.may_be_missing:
            raise ValueProblem(f"{what} is missing: the task ended without writing it")
    artifacts = {
        name: tuple(_artifacts(wire["outputs"]["artifacts"][name]["artifacts"], written, name, copies))
        for name in component.output_artifacts
    }
    return Values(params, artifacts)


def _text(file: Path, what: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueProblem(f"{what} is not UTF-8 text") from None


def _output_file(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_bytes().decode())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):
        raise ValueProblem(f"the executor's output file {file} is not JSON") from None
    if not isinstance(data, dict):
        raise ValueProblem(f"the executor's output file {file} holds no JSON object")
    return data


def _artifacts(
    declared: list[dict[str, Any]], written: Mapping[str, Any], name: str, copies: Path
) -> Iterator[ArtifactValue]:
    """The artifacts of one output: as they were declared, but for what the executor wrote over."""
    what = f"output artifact '{name}'"
    base = declared[0]
    found = _field(_field(_field(written, "artifacts", dict, what), name, dict, what), "artifacts", list, what)
    for item in found or declared:
        if not isinstance(item, dict):
            raise ValueProblem(f"{what} is no JSON object in the executor's output file")
        kind = _field(item, "type", dict, what) or base["type"]
        uri = carried(_field(item, "uri", str, what), f"the URI of {what}") or base["uri"]
        custom_path = _field(item, "custom_path", str, what) or _field(item, "customPath", str, what)
        _publish(custom_path, remote.place(uri, copies) if remote.is_remote(uri) else Path(file_uris.to_path(uri)))
        artifact_type = _field(kind, "schemaTitle", str, what) or base["type"]["schemaTitle"]
        yield ArtifactValue(
            name=_field(item, "name", str, what) or name,
            type=artifact_type,
            uri=uri,
            metadata=_metadata(_field(item, "metadata", dict, what), artifact_type, what),
            version=_field(kind, "schemaVersion", str, what),
        )


def _publish(custom_path: str, target: Path) -> None:
    """Copies what a component wrote to a path of its own choice to where those below look for it."""
    source = Path(custom_path)
    if not (source.is_absolute() and target.is_absolute()) or source == target:
        return
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    elif source.is_file():
        shutil.copyfile(source, target)


def _metadata(written: dict[str, Any], artifact_type: str, what: str) -> dict[str, Any]:
    """Return metadata as the component left it, with whole numbers as int.

    Raises:
        ValueProblem: JSON cannot carry it; of a metric that is NaN or infinite the message has its name.
    """
    for name, value in written.items():
        kind = "metric" if artifact_type.endswith("Metrics") else "metadata"
        carried(value, f"the {kind} '{name}' of {what}")
    carried(written, f"the metadata of {what}")
    metadata: dict[str, Any] = whole(written)
    return metadata


def _field(body: Mapping[str, Any], key: str, kind: type[T], what: str) -> T:
    """A field that the executor wrote, empty when it did not."""
    value = body.get(key)
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise ValueProblem(f"{what} has a '{key}' that is no {kind.__name__} in the executor's output file")
    return value
