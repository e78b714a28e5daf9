"""The files of an attempt: where its ExecutorInput lets it write, and what it wrote there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfgcp import file_uris
from kfgcp.engine import bucket_copies
from kfgcp.engine.layout import Layout, file_name
from kfgcp.semantics import executor_input as semantics
from kfgcp.semantics.nodes import Node
from kfgcp.semantics.values import ArtifactValue, ValueProblem, Values
from kfgcp.services.storage.uris import is_bucket_uri
from kfgcp.spec.graph import Component

OUTPUT_FILE = "executor_output.json"


def executor_input(node: Node, inputs: Values, layout: Layout) -> dict[str, Any]:
    """Return the ExecutorInput of a node's next attempt, in its JSON form.

    The executor makes the folders of the outputs.

    Args:
        node: the task.
        inputs: its values, defaults filled in.
        layout: where the run keeps its files.
    """
    parameters = layout.outputs(node.path, node.attempts)
    return semantics.build_executor_input(
        node.component,
        inputs,
        artifact_uri=lambda name: layout.uri(node.path, node.attempts, name),
        parameter_file=lambda name: str(parameters / file_name(name)),
        output_file=str(layout.attempt(node.path, node.attempts) / OUTPUT_FILE),
    )


def read_outputs(component: Component, wire: Mapping[str, Any], copies: Path) -> Values:
    """Return the outputs of an attempt that exited with 0.

    Args:
        component: declares the outputs.
        wire: the attempt's ExecutorInput.
        copies: where outputs for a bucket are written first, see `kfgcp.engine.bucket_copies`.

    Raises:
        ValueProblem: an output parameter is missing or of the wrong type, or the output file is not
            JSON.
    """
    outputs = wire["outputs"]
    executor_output = _output_file(Path(outputs["outputFile"]))

    def text_of(name: str) -> str | None:
        file = Path(outputs["parameters"][name]["outputFile"])
        return _text(file, f"output '{name}'") if file.is_file() else None

    params = semantics.read_output_params(component, executor_output, text_of)
    artifacts: dict[str, tuple[ArtifactValue, ...]] = {}
    for name in component.output_artifacts:
        reported = semantics.read_output_artifacts(
            name, outputs["artifacts"][name]["artifacts"], executor_output
        )
        for artifact in reported:
            _publish(artifact.custom_path, _place(artifact.value.uri, copies))
        artifacts[name] = tuple(artifact.value for artifact in reported)
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


def _place(uri: str, copies: Path) -> Path:
    """Return where the file of an artifact is on this machine."""
    return (
        bucket_copies.copy_path(uri, copies) if is_bucket_uri(uri) else Path(file_uris.to_path(uri))
    )


def _publish(custom_path: str, target: Path) -> None:
    """Copy what a component wrote to a path of its own choice to where the tasks below look for
    it."""
    source = Path(custom_path)
    if not (source.is_absolute() and target.is_absolute()) or source == target:
        return
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    elif source.is_file():
        shutil.copyfile(source, target)
