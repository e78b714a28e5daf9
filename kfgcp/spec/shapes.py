"""The shape of a PipelineSpec: the fields of the proto that kfgcp relies on, and checks of one
value each.

Fields that are not listed are tolerated, whatever they hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from kfgcp.spec.json_values import Place

SCHEMA_VERSIONS = ("2.0.0", "2.1.0")
PARAMETER_TYPES = (
    "STRING",
    "NUMBER_INTEGER",
    "NUMBER_DOUBLE",
    "BOOLEAN",
    "LIST",
    "STRUCT",
    "TASK_FINAL_STATUS",
    "TASK_CONFIG",
)

_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""The category Cc of Unicode."""

Check = Callable[[Any, Place], None]


class InvalidError(Exception):
    """What is wrong at `place`; `problem` continues a sentence that starts with the place."""

    def __init__(self, place: Place, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.place = place
        self.problem = problem
        self.hint = hint


# Checks of one value each, and what builds them.


def _wrong(value: Any, place: Place, expected: str) -> NoReturn:
    kinds = {
        dict: "a mapping",
        list: "a list",
        str: "text",
        bool: "a boolean",
        int: "a number",
        float: "a number",
    }
    raise InvalidError(place, f"is {kinds.get(type(value), 'null')}; {expected} is expected")


def _anything(value: Any, place: Place) -> None:
    """Data of the user, of any kind."""


def _text(value: Any, place: Place) -> None:
    if not isinstance(value, str):
        _wrong(value, place, "text")


def _name(value: Any, place: Place) -> None:
    _text(value, place)
    if not value:
        raise InvalidError(place, "is empty")


def _task_key(key: str, place: Place) -> None:
    """Refuse a key of a task that cannot be a step of a path.

    Paths such as `for-loop-1[2]/train` tell the tasks of a run apart, and name the folders of their
    files. A key with one of their marks would be the path of another task, or a folder outside of
    the run's own.
    """
    problem = ""
    if key in ("", ".", ".."):
        problem = "cannot be a folder"
    elif "/" in key:
        problem = "has a '/', which separates a task from the pipeline around it"
    elif re.search(r"\[[0-9]+\]", key):
        problem = "looks like an iteration of a loop"
    elif _CONTROL_CHARACTER.search(key):
        problem = "has a control character"
    if problem:
        hint = "Keys that KFP gives to tasks have lowercase letters, digits and '-'."
        raise InvalidError(place, f"has the task {key!r}, whose key {problem}", hint)


def _boolean(value: Any, place: Place) -> None:
    if not isinstance(value, bool):
        _wrong(value, place, "true or false")


def _number(value: Any, place: Place) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        _wrong(value, place, "a number")


def _count(value: Any, place: Place) -> None:
    _number(value, place)
    if value < 0 or value != int(value):
        raise InvalidError(place, f"is {value}; a whole number from 0 is expected")


def _int64(value: Any, place: Place) -> None:
    """Proto JSON has a whole number of 64 bits as text."""
    _count(
        int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value,
        place,
    )


def _duration(value: Any, place: Place) -> None:
    _text(value, place)
    if not re.fullmatch(r"[0-9]+(\.[0-9]{1,9})?s", value):
        raise InvalidError(place, f"is {value!r}; seconds such as '60s' are expected")


def _one_of(*choices: str) -> Check:
    def check(value: Any, place: Place) -> None:
        _text(value, place)
        if value not in choices:
            raise InvalidError(place, f"is {value!r}; one of {', '.join(choices)} is expected")

    return check


def _mapping(
    each: Check = _anything, key_check: Callable[[str, Place], None] | None = None
) -> Check:
    def check(value: Any, place: Place) -> None:
        if not isinstance(value, dict):
            _wrong(value, place, "a mapping")
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidError(place, f"has the key {key!r}; keys must be text")
            if key_check is not None:
                key_check(key, place)
            each(item, (*place, key))

    return check


def _list(each: Check = _anything) -> Check:
    def check(value: Any, place: Place) -> None:
        if not isinstance(value, list):
            _wrong(value, place, "a list")
        for index, item in enumerate(value):
            each(item, (*place, index))

    return check


def _record(required: Mapping[str, Check] | None = None, /, **optional: Check) -> Check:
    """A mapping whose `required` fields must be there, and whose `optional` ones may."""
    required = required or {}
    fields = {**required, **optional}

    def check(value: Any, place: Place) -> None:
        if not isinstance(value, dict):
            _wrong(value, place, "a mapping")
        for key, item in value.items():
            if key in fields:
                fields[key](item, (*place, key))
            elif not isinstance(key, str):
                raise InvalidError(place, f"has the key {key!r}; keys must be text")
        for key in required:
            if key not in value:
                raise InvalidError((*place, key), "is missing")

    return check


def _variant(variants: Mapping[str, Check], /, **optional: Check) -> Check:
    """A mapping that has exactly one of the fields `variants`."""
    record = _record(**variants, **optional)

    def check(value: Any, place: Place) -> None:
        record(value, place)
        if sum(key in value for key in variants) != 1:
            raise InvalidError(place, f"needs exactly one of {', '.join(variants)}")

    return check


def _schema_version(value: Any, place: Place) -> None:
    _text(value, place)
    if value not in SCHEMA_VERSIONS:
        hint = "Compile it with a KFP SDK from 2.10 on, or update kfgcp if the file is newer."
        raise InvalidError(
            place, f"is {value!r}; kfgcp reads {' and '.join(SCHEMA_VERSIONS)}", hint
        )


def _parameter(**optional: Check) -> Check:
    record = _record({"parameterType": _one_of(*PARAMETER_TYPES)}, description=_text, **optional)

    def check(value: Any, place: Place) -> None:
        if isinstance(value, dict) and "type" in value and "parameterType" not in value:
            hint = "KFP 1.8 compiled it. Compile the pipeline again with KFP 2."
            raise InvalidError((*place, "type"), "is how KFP 1 declared parameters", hint)
        record(value, place)

    return check


# The shapes, from the inside out.

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
_CONSTANT = _variant({"constant": _anything, "runtimeParameter": _text})
_PARAMETER_SOURCES: dict[str, Check] = {
    "taskOutputParameter": _record({"producerTask": _text, "outputParameterKey": _text}),
    "runtimeValue": _CONSTANT,
    "componentInputParameter": _text,
    "taskFinalStatus": _record({"producerTask": _text}),
}
_ARTIFACT_SOURCES: dict[str, Check] = {
    "taskOutputArtifact": _record({"producerTask": _text, "outputArtifactKey": _text}),
    "componentInputArtifact": _text,
}
_ITEMS = _variant({"raw": _text, "inputParameter": _text})
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
            "TRIGGER_STRATEGY_UNSPECIFIED",
            "ALL_UPSTREAM_TASKS_SUCCEEDED",
            "ALL_UPSTREAM_TASKS_COMPLETED",
        ),
    ),
    parameterIterator=_record({"items": _ITEMS, "itemInput": _text}),
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
        {"artifactUri": _CONSTANT},
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
_VALUE = _record(runtimeValue=_record(constant=_anything))
_SOURCE: dict[str, Check] = {
    "optional": _boolean,
    "secretNameParameter": _VALUE,
    "configMapNameParameter": _VALUE,
    "pvcNameParameter": _VALUE,
}
_VARIABLES = _list(_record({"keyToEnv": _list(_record({"envVar": _name}))}, **_SOURCE))
_MOUNTS = _list(_record({"mountPath": _name}, **_SOURCE))
_EXECUTOR_CONFIG = _record(
    secretAsEnv=_VARIABLES,
    configMapAsEnv=_VARIABLES,
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
