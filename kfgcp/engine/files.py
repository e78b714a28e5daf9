"""What an attempt reads and writes: its ExecutorInput before, its outputs after."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kfgcp.engine.layout import Layout, file_name
from kfgcp.engine.nodes import Node
from kfgcp.engine.values import ArtifactValue, ValueProblem, Values, carried, coerce, parse_text
from kfgcp.spec.graph import Component
from kfgcp.spec.params import whole

OUTPUT_FILE = "executor_output.json"
_TAIL_BYTES = 64 * 1024


def executor_input(node: Node, inputs: Values, layout: Layout) -> dict[str, Any]:
    """The ExecutorInput of a node's next attempt, in its JSON form; the folders it names are made.

    Args:
        node: the task.
        inputs: its values, defaults filled in.
        layout: where the run keeps its files.
    """
    folder = layout.attempt(node.path, node.attempts)
    folder.mkdir(parents=True, exist_ok=True)
    parameters = layout.outputs(node.path, node.attempts)
    if node.component.output_params:
        parameters.mkdir(parents=True, exist_ok=True)
    artifacts = {
        name: ArtifactValue(name, kind.type, str(folder / file_name(name)), kind.metadata, kind.version)
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


def read_outputs(component: Component, wire: Mapping[str, Any]) -> Values:
    """What an attempt that exited with 0 put out.

    Values in the executor's output file win over the parameters' own files (semantics.md, Artifacts and outputs).

    Args:
        component: declares the outputs.
        wire: the attempt's ExecutorInput.

    Raises:
        ValueProblem: an output parameter is missing or of the wrong type, or the output file is not JSON.
    """
    written = _output_file(Path(wire["outputs"]["outputFile"]))
    values = written.get("parameterValues") or {}
    params = {}
    for name, declared in component.output_params.items():
        what = f"output '{name}'"
        file = Path(wire["outputs"]["parameters"][name]["outputFile"])
        if name in values:
            params[name] = coerce(carried(values[name], what), declared, what)
        elif file.is_file():
            params[name] = parse_text(_text(file, what), declared, what)
        elif not declared.optional:
            raise ValueProblem(f"{what} is missing: the task ended without writing it")
    artifacts = {
        name: tuple(_artifacts(wire["outputs"]["artifacts"][name]["artifacts"], written, name))
        for name in component.output_artifacts
    }
    return Values(params, artifacts)


def log_tail(file: Path, lines: int = 20) -> tuple[str, ...]:
    """The last lines of a log; of a long line its end."""
    try:
        with file.open("rb") as log:
            log.seek(0, 2)
            log.seek(max(0, log.tell() - _TAIL_BYTES))
            text = log.read().decode("utf-8", errors="replace")
    except OSError:
        return ()
    return tuple(line[-2000:] for line in text.splitlines()[-lines:])


def _text(file: Path, what: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueProblem(f"{what} is not UTF-8 text") from None


def _output_file(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):
        raise ValueProblem(f"the executor's output file {file} is not JSON") from None
    if not isinstance(data, dict):
        raise ValueProblem(f"the executor's output file {file} holds no JSON object")
    return data


def _artifacts(declared: list[dict[str, Any]], written: Mapping[str, Any], name: str) -> Iterator[ArtifactValue]:
    """The artifacts of one output: as they were declared, but for what the executor wrote over."""
    found = ((written.get("artifacts") or {}).get(name) or {}).get("artifacts") or declared
    base = declared[0]
    for item in found:
        kind = item.get("type") or base["type"]
        yield ArtifactValue(
            name=item.get("name") or name,
            type=kind.get("schemaTitle") or base["type"]["schemaTitle"],
            uri=item.get("uri") or base["uri"],
            metadata=_metadata(item),
            version=kind.get("schemaVersion") or "",
            custom_path=item.get("custom_path") or item.get("customPath") or "",
        )


def _metadata(item: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as the component left it; whole numbers as int, but NaN and infinities still floats."""
    metadata: dict[str, Any] = whole(item.get("metadata") or {})
    return metadata
