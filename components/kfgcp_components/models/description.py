"""The description of a model: the file `model.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

from kfgcp_components.features import Features
from kfgcp_components.messages import one_line
from kfgcp_components.models.model import Label, Task

FORMAT: Final = "kfgcp-model/1"
_FORMAT_NAME: Final = "kfgcp-model/"
TASKS: Final = ("classification", "regression")
KINDS: Final = ("numeric", "text")

JsonObject: TypeAlias = "Mapping[str, object]"


@dataclass(frozen=True)
class Description:
    """What model.json says of a model.

    Attributes:
        task: classification or regression.
        target: the name of the column that the model predicts.
        classes: the classes in the order of the probabilities. None for a regression.
        features: the columns that the model reads. The dropped columns are empty.
        libraries: the versions of Python and of libraries by their names.
        size: the number of bytes of the model file.
        sha256: the SHA-256 of the model file, in hexadecimal.
        facts: how the model was trained.
    """

    task: Task
    target: str
    classes: list[Label] | None
    features: Features
    libraries: Mapping[str, str]
    size: int
    sha256: str
    facts: Mapping[str, object]

    def to_json(self) -> str:
        """Return the text of model.json.

        Raises:
            ValueError: a fact is not JSON, or is not a finite number.
        """
        schema = [{"name": name, "kind": "numeric"} for name in self.features.numeric]
        schema += [{"name": name, "kind": "text"} for name in self.features.text]
        document = {
            "format": FORMAT,
            "libraries": self.libraries,
            "signature": {"task": self.task, "target": self.target, "classes": self.classes},
            "schema": schema,
            "file": {"size": self.size, "sha256": self.sha256},
            "facts": self.facts,
        }
        try:
            return json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
        except (TypeError, ValueError) as error:
            raise ValueError(f"the facts of the model are not JSON: {one_line(error)}") from error


def parse_description(text: bytes) -> Description:
    """Return the description in the text of model.json.

    Raises:
        ValueError: the text is not JSON, not of this format, or a value has the wrong type.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {one_line(error)}") from error
    _check_format(document)
    signature = _object(document, "signature")
    task = signature.get("task")
    if task not in TASKS:
        raise ValueError(f"signature.task is {_show(task)}; it must be one of {', '.join(TASKS)}")
    file = _object(document, "file")
    size = file.get("size")
    if type(size) is not int or size < 0:
        raise ValueError(f"file.size is {_show(size)}; it must be a number of bytes")
    return Description(
        task=task,
        target=_text(signature, "signature", "target"),
        classes=_classes(signature.get("classes"), str(task)),
        features=_features(document.get("schema")),
        libraries=_libraries(_object(document, "libraries")),
        size=size,
        sha256=_text(file, "file", "sha256"),
        facts=_object(document, "facts"),
    )


def _check_format(document: object) -> None:
    if not isinstance(document, dict) or "format" not in document:
        raise ValueError("it has no key 'format', so kfgcp did not write it")
    name = document["format"]
    if name == FORMAT:
        return
    if isinstance(name, str) and name.startswith(_FORMAT_NAME):
        raise ValueError(
            f"its format is {_show(name)}, and this version of kfgcp reads {FORMAT!r}; install the"
            " version that wrote the model, or train the model again"
        )
    raise ValueError(f"its format is {_show(name)} instead of {FORMAT!r}")


def _object(parent: JsonObject, name: str) -> JsonObject:
    value = parent.get(name)
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {_show(value)}; it must be an object")
    return value


def _text(parent: JsonObject, parent_name: str, name: str) -> str:
    value = parent.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{parent_name}.{name} is {_show(value)}; it must be a text")
    return value


def _classes(value: object, task: str) -> list[Label] | None:
    if task == "regression" and value is None:
        return None
    is_list = isinstance(value, list) and len(value) >= 2
    if task == "regression" or not is_list:
        raise ValueError(f"signature.classes is {_show(value)}, which does not fit a {task}")
    classes = cast("list[Label]", value)
    kinds = {type(label) for label in classes}
    if len(kinds) > 1 or not kinds <= {bool, int, str}:
        raise ValueError("signature.classes must be all texts, all whole numbers or all booleans")
    if len(set(classes)) != len(classes):
        raise ValueError("signature.classes has the same class twice")
    return classes


def _features(schema: object) -> Features:
    if not isinstance(schema, list) or not schema:
        raise ValueError(f"schema is {_show(schema)}; it must be a list of columns")
    features = Features()
    names: set[str] = set()
    for column in schema:
        if not isinstance(column, dict) or not isinstance(column.get("name"), str):
            raise ValueError(
                f"schema has the entry {_show(column)}; it must have a name and a kind"
            )
        name, kind = column["name"], column.get("kind")
        if kind not in KINDS:
            raise ValueError(
                f"the kind of the column {_show(name)} is {_show(kind)}; it must be"
                f" one of {', '.join(KINDS)}"
            )
        if name in names:
            raise ValueError(f"schema has the column {_show(name)} twice")
        names.add(name)
        group = features.numeric if kind == "numeric" else features.text
        group.append(name)
    return features


def _libraries(value: JsonObject) -> dict[str, str]:
    versions = {}
    for name, version in value.items():
        if not isinstance(version, str):
            raise ValueError(f"libraries.{name} is {_show(version)}; it must be a version")
        versions[name] = version
    return versions


def _show(value: object) -> str:
    return one_line(repr(value), 80)
