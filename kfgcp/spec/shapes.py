"""Check the shape of a PipelineSpec: the types of the fields that kfgcp relies on.

`PIPELINE` and `PLATFORM` at the end check a whole document. They are built from checks of single
values, which come first. pipeline_spec.proto and kubernetes_executor_config.proto define the
fields. A field that is not listed here may hold anything. So specs of newer versions of KFP run if
kfgcp does not need to understand their new fields.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn

from kfgcp.spec.json_values import Place

SCHEMA_VERSIONS: Final = ("2.0.0", "2.1.0")

# ParameterType.ParameterTypeEnum of pipeline_spec.proto.
PARAMETER_TYPES: Final = (
    "STRING",
    "NUMBER_INTEGER",
    "NUMBER_DOUBLE",
    "BOOLEAN",
    "LIST",
    "STRUCT",
    "TASK_FINAL_STATUS",
    "TASK_CONFIG",
)

# The category Cc of Unicode.
_CONTROL_CHARACTER: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")

# google.protobuf.Duration in JSON: seconds with at most nine decimals.
_DURATION: Final = re.compile(r"[0-9]+(\.[0-9]{1,9})?s")

_TYPE_NAMES: Final[Mapping[type, str]] = {
    dict: "a mapping",
    list: "a list",
    str: "text",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
}

Check = Callable[[object, Place], None]
"""Checks the value at a place, or raises `InvalidError`."""

KeyCheck = Callable[[str, Place], None]
"""Checks a key of the mapping at a place, or raises `InvalidError`."""


class InvalidError(Exception):
    """A value that is not valid.

    Attributes:
        place: where the value is.
        problem: the end of a sentence that starts with the place.
        hint: what the user can do, "" for no hint.
    """

    def __init__(self, place: Place, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.place = place
        self.problem = problem
        self.hint = hint


# -- checks of single values


def _raise_wrong_type(value: object, place: Place, expected: str) -> NoReturn:
    type_name = _TYPE_NAMES.get(type(value), type(value).__name__)
    raise InvalidError(place, f"must be {expected}, not {type_name}")


def _anything(value: object, place: Place) -> None:
    """Accept the data of users, which may be of any type."""


def _text(value: object, place: Place) -> None:
    if not isinstance(value, str):
        _raise_wrong_type(value, place, "text")


def _name(value: object, place: Place) -> None:
    _text(value, place)
    if not value:
        raise InvalidError(place, "is empty")


def _boolean(value: object, place: Place) -> None:
    if not isinstance(value, bool):
        _raise_wrong_type(value, place, "true or false")


def _number(value: object, place: Place) -> None:
    # In Python, True is also an int.
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        _raise_wrong_type(value, place, "a number")


def _count(value: object, place: Place) -> None:
    _number(value, place)
    assert isinstance(value, (int, float))
    if value < 0 or value != int(value):
        raise InvalidError(place, f"must be a whole number of 0 or more, not {value}")


def _int64(value: object, place: Place) -> None:
    """Check an integer of 64 bits. Proto JSON writes it as text, and accepts a number too."""
    is_digits = isinstance(value, str) and value.isascii() and value.isdigit()
    if not is_digits:
        _count(value, place)


def _duration(value: object, place: Place) -> None:
    if not isinstance(value, str):
        _raise_wrong_type(value, place, "text")
    if not _DURATION.fullmatch(value):
        raise InvalidError(place, f"must be a number of seconds such as '60s', not {value!r}")


def _schema_version(value: object, place: Place) -> None:
    _text(value, place)
    if value not in SCHEMA_VERSIONS:
        raise InvalidError(
            place,
            f"is {value!r}; kfgcp reads {' and '.join(SCHEMA_VERSIONS)}",
            "Compile the pipeline with KFP SDK 2.10 or newer. If the file comes from a newer SDK"
            " than kfgcp knows, update kfgcp.",
        )


def _task_key(key: str, place: Place) -> None:
    """Refuse a key of a task that cannot be a step of a path.

    Paths such as `for-loop-1[2]/train` identify the tasks of a run, and are the names of folders.
    A key with `/`, `..` or `[2]` could give the path of another task, or a folder outside the
    folder of the run.
    """
    problem = ""
    if key in ("", ".", ".."):
        problem = "cannot be the name of a folder"
    elif "/" in key:
        problem = "has a '/', which separates a task from the pipeline around it"
    elif re.search(r"\[[0-9]+\]", key):
        problem = "looks like the name of an iteration in a loop"
    elif _CONTROL_CHARACTER.search(key):
        problem = "has a control character"
    if problem:
        hint = "Use lowercase letters, digits and '-', as KFP does."
        raise InvalidError(place, f"has the task {key!r}, whose key {problem}", hint)


# -- builders of checks


def _one_of(choices: Sequence[str]) -> Check:
    """Return a check for one of several texts."""

    def check(value: object, place: Place) -> None:
        _text(value, place)
        if value not in choices:
            raise InvalidError(place, f"must be one of {', '.join(choices)}, not {value!r}")

    return check


def _mapping(check_item: Check = _anything, check_key: KeyCheck | None = None) -> Check:
    """Return a check for a mapping with any keys."""

    def check(value: object, place: Place) -> None:
        if not isinstance(value, dict):
            _raise_wrong_type(value, place, "a mapping")
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidError(place, f"has the key {key!r}; keys must be text")
            if check_key is not None:
                check_key(key, place)
            check_item(item, place + (key,))

    return check


def _list(check_item: Check = _anything) -> Check:
    """Return a check for a list."""

    def check(value: object, place: Place) -> None:
        if not isinstance(value, list):
            _raise_wrong_type(value, place, "a list")
        for index, item in enumerate(value):
            check_item(item, place + (index,))

    return check


def _record(required: Mapping[str, Check] | None = None, /, **optional: Check) -> Check:
    """Return a check for a mapping with fields.

    Args:
        required: the checks of the fields that must be there.
        optional: the checks of fields that may be there. Other fields may be there too.
    """
    required_fields = required or {}
    fields = {**required_fields, **optional}

    def check(value: object, place: Place) -> None:
        if not isinstance(value, dict):
            _raise_wrong_type(value, place, "a mapping")
        for key, item in value.items():
            if key in fields:
                fields[key](item, place + (key,))
            elif not isinstance(key, str):
                raise InvalidError(place, f"has the key {key!r}; keys must be text")
        for key in required_fields:
            if key not in value:
                raise InvalidError(place + (key,), "is missing")

    return check


def _variant(variants: Mapping[str, Check], /, **optional: Check) -> Check:
    """Return a check for a mapping that has exactly one of several fields, a `oneof` of a proto.

    Args:
        variants: the checks of the fields. Exactly one of these fields must be there.
        optional: the checks of fields that may be there.
    """
    check_record = _record(**variants, **optional)

    def check(value: object, place: Place) -> None:
        check_record(value, place)
        assert isinstance(value, dict)
        if sum(key in value for key in variants) != 1:
            raise InvalidError(place, f"needs exactly one of {', '.join(variants)}")

    return check


def _parameter(**optional: Check) -> Check:
    """Return a check for a declared parameter."""
    parameter_type = _one_of(PARAMETER_TYPES)
    check_record = _record({"parameterType": parameter_type}, description=_text, **optional)

    def check(value: object, place: Place) -> None:
        # Schema 2.0.0 of KFP 1.8 has `type: INT` instead of `parameterType: NUMBER_INTEGER`.
        if isinstance(value, dict) and "type" in value and "parameterType" not in value:
            hint = "KFP 1.8 compiled this file. Compile the pipeline again with KFP 2."
            raise InvalidError(place + ("type",), "is a field of KFP 1", hint)
        check_record(value, place)

    return check


# -- the shapes, from the inside out

_ARTIFACT_TYPE = _record(
    schemaTitle=_text, schemaUri=_text, instanceSchema=_text, schemaVersion=_text
)
_ARTIFACT = _record(
    artifactType=_ARTIFACT_TYPE,
    isArtifactList=_boolean,
    isOptional=_boolean,
    description=_text,
    metadata=_mapping(),
)
_INPUTS = _record(
    parameters=_mapping(_parameter(defaultValue=_anything, isOptional=_boolean, literals=_list())),
    artifacts=_mapping(_ARTIFACT),
)
_OUTPUTS = _record(parameters=_mapping(_parameter()), artifacts=_mapping(_ARTIFACT))
_CONSTANT_OR_RUNTIME_PARAMETER = _variant({"constant": _anything, "runtimeParameter": _text})
_PARAMETER_SOURCES: dict[str, Check] = {
    "taskOutputParameter": _record({"producerTask": _text, "outputParameterKey": _text}),
    "runtimeValue": _CONSTANT_OR_RUNTIME_PARAMETER,
    "componentInputParameter": _text,
    "taskFinalStatus": _record({"producerTask": _text}),
}
_ARTIFACT_SOURCES: dict[str, Check] = {
    "taskOutputArtifact": _record({"producerTask": _text, "outputArtifactKey": _text}),
    "componentInputArtifact": _text,
}
_LOOP_ITEMS = _variant({"raw": _text, "inputParameter": _text})
_TASK = _record(
    {"componentRef": _record({"name": _text})},
    taskInfo=_record(name=_text),
    inputs=_record(
        parameters=_mapping(_variant(_PARAMETER_SOURCES, parameterExpressionSelector=_text)),
        artifacts=_mapping(_variant(_ARTIFACT_SOURCES)),
    ),
    dependentTasks=_list(_text),
    cachingOptions=_record(enableCache=_boolean, cacheKey=_text),
    triggerPolicy=_record(
        condition=_text,
        strategy=_one_of(
            (
                "TRIGGER_STRATEGY_UNSPECIFIED",
                "ALL_UPSTREAM_TASKS_SUCCEEDED",
                "ALL_UPSTREAM_TASKS_COMPLETED",
            )
        ),
    ),
    parameterIterator=_record({"items": _LOOP_ITEMS, "itemInput": _text}),
    artifactIterator=_record({"items": _record({"inputArtifact": _text}), "itemInput": _text}),
    retryPolicy=_record(
        maxRetryCount=_count,
        backoffDuration=_duration,
        backoffFactor=_number,
        backoffMaxDuration=_duration,
    ),
    iteratorPolicy=_record(parallelismLimit=_count),
)
_PARAMETER_SELECTOR = _record({"producerSubtask": _text, "outputParameterKey": _text})
_DAG = _record(
    {"tasks": _mapping(_TASK, _task_key)},
    outputs=_record(
        parameters=_mapping(
            _variant(
                {
                    "valueFromParameter": _PARAMETER_SELECTOR,
                    "valueFromOneof": _record({"parameterSelectors": _list(_PARAMETER_SELECTOR)}),
                }
            )
        ),
        artifacts=_mapping(
            _record(
                artifactSelectors=_list(
                    _record({"producerSubtask": _text, "outputArtifactKey": _text})
                )
            )
        ),
    ),
)
_COMPONENT = _record(
    inputDefinitions=_INPUTS, outputDefinitions=_OUTPUTS, dag=_DAG, executorLabel=_text
)
_CONTAINER = _record(
    {"image": _name},
    command=_list(_text),
    args=_list(_text),
    env=_list(_record({"name": _text}, value=_text)),
    resources=_record(
        cpuLimit=_number,
        memoryLimit=_number,
        cpuRequest=_number,
        memoryRequest=_number,
        resourceCpuLimit=_text,
        resourceMemoryLimit=_text,
        resourceCpuRequest=_text,
        resourceMemoryRequest=_text,
        accelerator=_record(type=_text, resourceType=_text, resourceCount=_text),
    ),
)
_EXECUTORS: dict[str, Check] = {
    "container": _CONTAINER,
    "importer": _record(
        {"artifactUri": _CONSTANT_OR_RUNTIME_PARAMETER},
        typeSchema=_ARTIFACT_TYPE,
        reimport=_boolean,
        metadata=_mapping(),
    ),
    "resolver": _mapping(),
    "customJob": _mapping(),
}
PIPELINE = _record(
    {
        "schemaVersion": _schema_version,
        "pipelineInfo": _record({"name": _name}, displayName=_text, description=_text),
        "root": _COMPONENT,
        "components": _mapping(_COMPONENT),
        "deploymentSpec": _record(executors=_mapping(_variant(_EXECUTORS))),
    },
    sdkVersion=_text,
    defaultPipelineRoot=_text,
)
_RUNTIME_VALUE = _record(runtimeValue=_record(constant=_anything))
_SOURCE_FIELDS: dict[str, Check] = {
    "optional": _boolean,
    "secretNameParameter": _RUNTIME_VALUE,
    "configMapNameParameter": _RUNTIME_VALUE,
    "pvcNameParameter": _RUNTIME_VALUE,
}
_VARIABLE_SOURCES = _list(
    _record({"keyToEnv": _list(_record({"envVar": _name}))}, **_SOURCE_FIELDS)
)
_MOUNTS = _list(_record({"mountPath": _name}, **_SOURCE_FIELDS))
_EXECUTOR_CONFIG = _record(
    secretAsEnv=_VARIABLE_SOURCES,
    configMapAsEnv=_VARIABLE_SOURCES,
    fieldPathAsEnv=_list(_record({"name": _name})),
    secretAsVolume=_MOUNTS,
    configMapAsVolume=_MOUNTS,
    pvcMount=_MOUNTS,
    emptyDirMounts=_MOUNTS,
    genericEphemeralVolume=_MOUNTS,
    activeDeadlineSeconds=_int64,
)
_EXECUTOR_CONFIGS = _record(executors=_mapping(_EXECUTOR_CONFIG))
PLATFORM = _record(
    {
        "platforms": _mapping(
            _record(deploymentSpec=_EXECUTOR_CONFIGS, config=_mapping(), pipelineConfig=_mapping())
        )
    }
)
