"""Build the ExecutorInput of an attempt, and read the files that the attempt wrote."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kfgcp import file_uris
from kfgcp.engine import bucket_copies
from kfgcp.engine.layout import Layout, file_name
from kfgcp.semantics import executor_input as semantics
from kfgcp.semantics.nodes import Node
from kfgcp.semantics.values import ArtifactValue, ValueProblem, Values
from kfgcp.services.storage.uris import is_bucket_uri
from kfgcp.spec.graph import Component

OUTPUT_FILE: Final = "executor_output.json"


def executor_input(node: Node, inputs: Values, layout: Layout) -> dict[str, Any]:
    """Return the ExecutorInput of a node's next attempt, in its JSON form.

    This function does not make the folders of the outputs. The executor makes them.

    Args:
        node: the task.
        inputs: the inputs of the task, with their defaults.
        layout: where the run keeps its files.
    """
    parameter_folder = layout.parameter_folder(node.path, node.attempts)
    artifact_folder = layout.artifact_folder(node.path, node.attempts)
    return semantics.build_executor_input(
        node.component,
        inputs,
        artifact_uri=lambda name: layout.uri(node.path, node.attempts, name),
        parameter_file=lambda name: str(parameter_folder / file_name(name)),
        output_file=str(artifact_folder / OUTPUT_FILE),
    )


def read_outputs(component: Component, executor_input: Mapping[str, Any], copies: Path) -> Values:
    """Return the outputs of an attempt that exited with 0.

    Args:
        component: declares the outputs.
        executor_input: the ExecutorInput of the attempt.
        copies: the folder where a task writes artifacts for buckets, see
            `kfgcp.engine.bucket_copies`.

    Raises:
        ValueProblem: an output parameter is missing or of the wrong type, or the output file is not
            JSON.
        OSError: a file cannot be read or copied.
    """
    outputs = executor_input["outputs"]
    executor_output = _read_output_file(Path(outputs["outputFile"]))

    def read_parameter(name: str) -> str | None:
        file = Path(outputs["parameters"][name]["outputFile"])
        return _read_text(file, name) if file.is_file() else None

    params = semantics.read_output_params(component, executor_output, read_parameter)
    artifacts: dict[str, tuple[ArtifactValue, ...]] = {}
    for name in component.output_artifacts:
        declared = outputs["artifacts"][name]["artifacts"]
        reported = semantics.read_output_artifacts(name, declared, executor_output)
        for artifact in reported:
            _publish(artifact.custom_path, _local_path(artifact.value.uri, copies))
        artifacts[name] = tuple(artifact.value for artifact in reported)
    return Values(params, artifacts)


def uris_to_upload(outputs: Values, executor_input: Mapping[str, Any], copies: Path) -> list[str]:
    """Return the URIs of the output artifacts that must be copied to a bucket.

    Args:
        outputs: the outputs of the attempt.
        executor_input: the ExecutorInput of the attempt.
        copies: the folder where a task writes artifacts for buckets.
    """
    input_uris: set[str] = set()
    for artifact_list in executor_input["inputs"]["artifacts"].values():
        input_uris |= {artifact["uri"] for artifact in artifact_list["artifacts"]}
    artifacts = itertools.chain.from_iterable(outputs.artifacts.values())
    written_uris = bucket_copies.uris_to_upload(artifacts, copies)
    # A component may report an input as its output. The file of an input is in the bucket already.
    return [uri for uri in written_uris if uri not in input_uris]


def _read_text(file: Path, output: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueProblem(f"output '{output}' is not UTF-8 text") from None


def _read_output_file(file: Path) -> dict[str, Any]:
    """Return the content of the executor's output file, {} when the file does not exist."""
    try:
        data = json.loads(file.read_bytes().decode())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):
        raise ValueProblem(f"the executor's output file {file} is not JSON") from None
    if not isinstance(data, dict):
        raise ValueProblem(f"the executor's output file {file} is not a JSON object")
    return data


def _local_path(uri: str, copies: Path) -> Path:
    """Return the path on this machine where later tasks read an artifact."""
    if is_bucket_uri(uri):
        return bucket_copies.copy_path(uri, copies)
    return Path(file_uris.to_path(uri))


def _publish(custom_path: str, target: Path) -> None:
    """Copy an artifact from a path that the component chose to the path that later tasks read.

    Do nothing when the component did not choose another path, or when there is no file.
    """
    source = Path(custom_path)
    if not (source.is_absolute() and target.is_absolute()) or source == target:
        return
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    elif source.is_file():
        shutil.copyfile(source, target)
