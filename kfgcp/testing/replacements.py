"""What a task does instead of running its component, in a test of a pipeline."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kfgcp import file_uris
from kfgcp.errors import ParamError, UsageError
from kfgcp.semantics.values import METADATA_ONLY, ArtifactValue, Values
from kfgcp.settings import did_you_mean
from kfgcp.spec import params as spec_params
from kfgcp.spec.graph import ArtifactDef, Component

# The name of the output of a component that returns one value, as KFP names it.
ONLY_OUTPUT: Final = "Output"


@dataclass(frozen=True, slots=True)
class TestArtifact:
    """An artifact of a test: a file or folder, and its metadata.

    Attributes:
        uri: the path of a file or folder, or an address such as `gs://bucket/model`. It is "" for
            an artifact that is only metadata.
        metadata: the metadata by name.
        keeper: keeps the temporary folder with the file, None when there is none.
    """

    # pytest collects classes whose names begin with Test, unless they say otherwise.
    __test__ = False

    uri: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    keeper: object = field(default=None, repr=False, compare=False)

    @property
    def path(self) -> Path:
        """The file or folder."""
        return Path(file_uris.to_path(self.uri))


def artifact(path: str | os.PathLike[str] = "", **metadata: object) -> TestArtifact:
    """Return an artifact to give to a component or to return from a task.

    Args:
        path: a file or folder, or an address such as `gs://bucket/model`.
        metadata: the metadata of the artifact.

    Example:
        >>> artifact("gs://acme/model", framework="sklearn").metadata
        {'framework': 'sklearn'}
    """
    return TestArtifact(os.fspath(path), metadata)


@dataclass(frozen=True, slots=True)
class Returns:
    """A task that succeeds with these outputs. `returns` makes one.

    Attributes:
        outputs: the outputs by name.
    """

    outputs: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Fails:
    """A task that fails. `fails` makes one.

    Attributes:
        message: the message of the failure.
    """

    message: str


Replacement = Returns | Fails | Callable[[Mapping[str, Any]], "Returns | Fails"]
"""What replaces a task. A function gets the inputs of the task by name, and is called for each
attempt. Artifacts among the inputs are of the type TestArtifact, or lists of them."""


def returns(*output: object, **outputs: object) -> Returns:
    """Return a replacement with which a task succeeds.

    Args:
        output: the value of a component that returns one value.
        outputs: the outputs by name. An output artifact is the path of a file or folder, a dict of
            metadata, or an `artifact`.

    Example:
        >>> returns(model="model.pkl", metrics={"auc": 0.9}).outputs["metrics"]
        {'auc': 0.9}
        >>> returns(True).outputs
        {'Output': True}
    """
    if len(output) > 1:
        raise UsageError(
            "returns(…) takes one value without a name.", hint="Name the outputs: returns(a=1, b=2)"
        )
    if output:
        outputs[ONLY_OUTPUT] = output[0]
    return Returns(outputs)


def fails(message: str) -> Fails:
    """Return a replacement with which each attempt of a task fails.

    Args:
        message: the message of the failure.

    Example:
        >>> fails("quota").message
        'quota'
    """
    return Fails(message)


def build_outputs(replacement: Returns, component: Component, subject: str) -> Values:
    """Return the outputs of a replaced task, after a check against the component's signature.

    Args:
        replacement: the outputs.
        component: the component of the task.
        subject: names the replacement in messages: `replace["train"]`.

    Raises:
        UsageError: an output is unknown, missing or of the wrong type, or a file does not exist.
    """
    declared = component.output_params.keys() | component.output_artifacts.keys()
    task_name = component.name.removeprefix("comp-")
    for name in replacement.outputs:
        if name not in declared:
            names = ", ".join(sorted(declared)) or "none"
            raise UsageError(
                f"{subject}: {task_name} has no output '{name}'.",
                hint=f"{did_you_mean(name, declared)}Outputs: {names}.",
            )
    for name in sorted(declared):
        if name not in replacement.outputs:
            raise UsageError(
                f"{subject}: the output '{name}' of {task_name} is missing.",
                hint=f"Add it: returns({'VALUE' if name == ONLY_OUTPUT else f'{name}=VALUE'})",
            )
    values = {name: replacement.outputs[name] for name in component.output_params}
    artifacts = {}
    for name, definition in component.output_artifacts.items():
        label = f"{subject}: the output '{name}' of {task_name}"
        artifacts[name] = build_artifacts(name, definition, replacement.outputs[name], label)
    return Values(_check_params(component, values, subject), artifacts)


def build_artifacts(
    name: str, definition: ArtifactDef, value: object, label: str
) -> tuple[ArtifactValue, ...]:
    """Return the artifacts of an input or output for the value that a test gives.

    Args:
        name: the name of the input or output.
        definition: its declaration.
        value: a path, a dict of metadata, a TestArtifact, or a list of these.
        label: names the input or output in messages.

    Raises:
        UsageError: the value is of another type, or a file does not exist.
    """
    items = value if definition.is_list and isinstance(value, (list, tuple)) else [value]
    return tuple(_build_artifact(name, definition, item, label) for item in items)


def _build_artifact(name: str, definition: ArtifactDef, value: object, label: str) -> ArtifactValue:
    if isinstance(value, dict):
        value = TestArtifact(metadata=value)
    elif isinstance(value, (str, os.PathLike)):
        value = TestArtifact(os.fspath(value))
    if not isinstance(value, TestArtifact):
        raise UsageError(
            f"{label} must be the path of a file or folder, not {value!r}.",
            hint="Give a path, a dict of metadata, or kfgcp.testing.artifact(PATH, NAME=VALUE).",
        )
    uri = value.uri
    needs_file = definition.type not in METADATA_ONLY
    if not uri and needs_file:
        raise UsageError(
            f"{label} has no path, and artifacts of the type {definition.type} need one.",
            hint="Give kfgcp.testing.artifact(PATH, NAME=VALUE).",
        )
    if uri and ("://" not in uri or file_uris.is_file_uri(uri)):
        uri = os.path.abspath(file_uris.to_path(uri))
        if not os.path.exists(uri):
            raise UsageError(f"{label} does not exist: {uri}")
    metadata = {**definition.metadata, **value.metadata}
    return ArtifactValue(name, definition.type, uri, metadata, definition.version)


def _check_params(
    component: Component, values: Mapping[str, object], subject: str
) -> Mapping[str, object]:
    for name, declared in component.output_params.items():
        # A pipeline's own parameter accepts other values for a text. KFP's executor does not.
        if declared.type == "STRING" and not isinstance(values[name], str):
            raise UsageError(f"{subject}: {name} must be str, not {values[name]!r}.")
    try:
        return spec_params.resolve(component.output_params, values, subject=subject)
    except ParamError as error:
        raise UsageError(error.message) from None
