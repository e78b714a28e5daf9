"""Find fields of a PipelineSpec that no released version of pipeline_spec.proto has.

The executors of `deploymentSpec` are a `google.protobuf.Struct`, so they may have any fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kfgcp.spec.json_values import JsonObject, Place

_UNDERSCORE: Final = re.compile(r"_([a-z])")


@dataclass(frozen=True, slots=True)
class _Message:
    """A message of the proto.

    Attributes:
        values: the fields that hold plain values, or values of users.
        messages: the fields that hold a message.
        maps: the fields that hold a map of messages.
        lists: the fields that hold a list of messages.
    """

    values: frozenset[str] = frozenset()
    messages: Mapping[str, _Message] = field(default_factory=dict)
    maps: Mapping[str, _Message] = field(default_factory=dict)
    lists: Mapping[str, _Message] = field(default_factory=dict)


def unknown_fields(pipeline_spec: JsonObject) -> Iterator[Place]:
    """Yield the places of the fields that the proto does not have.

    Example:
        >>> list(unknown_fields({"pipelineInfo": {"name": "hello", "colour": "red"}}))
        [('pipelineInfo', 'colour')]
    """
    # Linked pairs `(parent, step)` are cheap to extend. Only places that are yielded become tuples.
    stack: list[tuple[Any, object, _Message]] = [(None, pipeline_spec, _PIPELINE)]
    while stack:
        place, body, message = stack.pop()
        # Most messages have only plain values, and this test is faster than a loop.
        if not isinstance(body, dict) or message.values.issuperset(body):
            continue
        for key, value in body.items():
            if key in message.values:
                continue
            # Parsers of JSON also accept the names of the proto: `task_info` for `taskInfo`.
            name = key
            if "_" in key:
                name = _UNDERSCORE.sub(lambda match: match[1].upper(), key)
            here = (place, key)
            if name in message.messages:
                stack.append((here, value, message.messages[name]))
            elif name in message.maps and isinstance(value, dict):
                item_message = message.maps[name]
                for item_key, item in value.items():
                    stack.append(((here, item_key), item, item_message))
            elif name in message.lists and isinstance(value, list):
                for index, item in enumerate(value):
                    stack.append(((here, index), item, message.lists[name]))
            elif name not in message.values and not _holds_messages(message, name):
                yield _unlink(here)


def _unlink(place: Any) -> Place:
    """Return the place for linked pairs."""
    steps: list[str | int] = []
    while place is not None:
        place, step = place
        steps.append(step)
    return tuple(reversed(steps))


def _holds_messages(message: _Message, name: str) -> bool:
    """Return whether a field holds messages. Its value here is of a wrong type."""
    return name in message.maps or name in message.lists


def _values(*names: str) -> frozenset[str]:
    return frozenset(names)


_VALUE: Final = _Message(_values("constantValue", "runtimeParameter", "constant"))
_ARTIFACT_TYPE: Final = _Message(
    _values("schemaTitle", "schemaUri", "instanceSchema", "schemaVersion")
)
_ARTIFACT: Final = _Message(
    # `isOptional` is a field of inputs only, and the three maps are fields of outputs only. They
    # are one message here, because no specs mix them up.
    _values(
        "isArtifactList",
        "isOptional",
        "description",
        "properties",
        "customProperties",
        "metadata",
    ),
    {"artifactType": _ARTIFACT_TYPE},
)
_PARAMETER: Final = _Message(
    _values("type", "parameterType", "defaultValue", "isOptional", "description", "literals")
)
_INTERFACE: Final = _Message(maps={"artifacts": _ARTIFACT, "parameters": _PARAMETER})
_OUTPUT: Final = _Message(_values("producerTask", "outputParameterKey", "outputArtifactKey"))
_ITEMS: Final = _Message(_values("raw", "inputParameter", "inputArtifact"))
_ITERATOR: Final = _Message(_values("itemInput"), {"items": _ITEMS})
_TASK: Final = _Message(
    _values("dependentTasks"),
    {
        "taskInfo": _Message(_values("name")),
        "inputs": _Message(
            maps={
                "parameters": _Message(
                    _values("componentInputParameter", "parameterExpressionSelector"),
                    {
                        "taskOutputParameter": _OUTPUT,
                        "runtimeValue": _VALUE,
                        "taskFinalStatus": _Message(_values("producerTask")),
                    },
                ),
                "artifacts": _Message(
                    _values("componentInputArtifact"), {"taskOutputArtifact": _OUTPUT}
                ),
            }
        ),
        "cachingOptions": _Message(_values("enableCache", "cacheKey")),
        "componentRef": _Message(_values("name")),
        "triggerPolicy": _Message(_values("condition", "strategy")),
        "artifactIterator": _ITERATOR,
        "parameterIterator": _ITERATOR,
        "retryPolicy": _Message(
            _values("maxRetryCount", "backoffDuration", "backoffFactor", "backoffMaxDuration")
        ),
        "iteratorPolicy": _Message(_values("parallelismLimit")),
    },
)
_SELECTOR: Final = _Message(_values("producerSubtask", "outputParameterKey", "outputArtifactKey"))
_DAG_OUTPUTS: Final = _Message(
    maps={
        "artifacts": _Message(lists={"artifactSelectors": _SELECTOR}),
        "parameters": _Message(
            messages={
                "valueFromParameter": _SELECTOR,
                "valueFromOneof": _Message(lists={"parameterSelectors": _SELECTOR}),
            }
        ),
    }
)
_COMPONENT: Final = _Message(
    _values("executorLabel", "singlePlatformSpecs", "taskConfigPassthroughs"),
    {
        "inputDefinitions": _INTERFACE,
        "outputDefinitions": _INTERFACE,
        "dag": _Message(messages={"outputs": _DAG_OUTPUTS}, maps={"tasks": _TASK}),
    },
)
_PIPELINE: Final = _Message(
    _values("deploymentSpec", "sdkVersion", "schemaVersion", "defaultPipelineRoot"),
    {
        "pipelineInfo": _Message(_values("name", "displayName", "description")),
        "root": _COMPONENT,
    },
    {"components": _COMPONENT},
)
