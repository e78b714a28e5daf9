"""The lines of the tasks and components of a compiled file.

A compiled file of thousands of tasks has megabytes, and libyaml needs seconds for the positions of
its values. So the keys are first searched by their indentation, as KFP and most people write them.
Only what is not found that way is looked up with libyaml. Nothing is searched before the first
question.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Final

from kfgcp.spec.documents import value_lines
from kfgcp.spec.json_values import JsonObject
from kfgcp.spec.source_lines import Location
from kfgcp.spec.wire import component_name, read_components, read_root, read_tasks

_Place = tuple[str, ...]

# A key at the start of a line. Deeper keys than those of tasks do not matter: KFP indents by two,
# the key of a task has four keys above it, and a manifest around the PipelineSpec adds two.
_KEY: Final = re.compile(
    r"""^([ \t]{0,12})(?:([A-Za-z0-9_.-]+)|"([^"\\\n]*)"|'([^'\n]*)')[ \t]*:(?=\s|$)""",
    re.MULTILINE,
)
_DEEPEST: Final = 7

# What is around a PipelineSpec: nothing, a PipelineJob, or a manifest of a PipelineVersion.
_PREFIXES: Final[tuple[_Place, ...]] = ((), ("pipelineSpec",), ("spec", "pipelineSpec"))

# A manifest may follow the one of its Pipeline, so the PipelineSpec is in one of two documents.
_DOCUMENTS: Final = 2


class DocumentLines:
    """The lines of a compiled file.

    Args:
        text: the content of the file.
        file: the file, for the locations.
        spec: the PipelineSpec in the file.
    """

    def __init__(self, text: str, file: str, spec: JsonObject) -> None:
        self._text = text
        self._file = file
        self._spec = spec

    def find_root(self) -> Location | None:
        """Return the line of `root`."""
        return self._find(("root",))

    def find_component(self, name: str) -> Location | None:
        """Return the line of a component, by its name in the file."""
        if name not in read_components(self._spec):
            return None
        return self._find(("components", name))

    def find_task(self, segments: Sequence[str]) -> Location | None:
        """Return the line of a task, by its path in the pipeline."""
        components = read_components(self._spec)
        parent: _Place = ("root",)
        tasks = read_tasks(read_root(self._spec))
        place: _Place = ()
        for key in segments:
            if key not in tasks:
                return None
            place = parent + ("dag", "tasks", key)
            component = component_name(tasks[key])
            parent = ("components", component)
            tasks = read_tasks(components.get(component, {}))
        return self._find(place)

    def _find(self, place: _Place) -> Location | None:
        line = self._lines_by_indentation.get(place)
        if line is None:
            line = self._lines_by_parser.get(place)
        return Location(self._file, line) if line is not None else None

    @cached_property
    def _lines_by_indentation(self) -> Mapping[_Place, int]:
        return _without_prefix(_scan_keys(self._text))

    @cached_property
    def _lines_by_parser(self) -> Mapping[_Place, int]:
        for document in range(_DOCUMENTS):
            lines = _without_prefix(value_lines(self._text, document, depth=_DEEPEST))
            if lines:
                return lines
        return {}


def _scan_keys(text: str) -> dict[_Place, int]:
    """Return the lines of keys by their indentation; nothing when a place is there twice.

    A place is there twice when the indentation does not tell the structure.
    """
    lines: dict[_Place, int] = {}
    # The keys above the current line, and how far each is indented.
    keys: list[str] = []
    indents: list[int] = []
    line = 1
    position = 0
    for match in _KEY.finditer(text):
        line += text.count("\n", position, match.start())
        position = match.start()
        indent = len(match[1])
        while indents and indents[-1] >= indent:
            indents.pop()
            keys.pop()
        if len(keys) >= _DEEPEST:
            continue
        indents.append(indent)
        keys.append(match[2] or match[3] or match[4] or "")
        place = tuple(keys)
        if place in lines and _is_looked_up(place):
            return {}
        lines[place] = line
    return lines


def _is_looked_up(place: _Place) -> bool:
    """Return whether a place may be that of a task or a component."""
    return "components" in place or "root" in place


def _without_prefix(lines: Mapping[_Place, int]) -> dict[_Place, int]:
    """Return the lines of the PipelineSpec, by places within the PipelineSpec."""
    for prefix in _PREFIXES:
        if prefix + ("root",) in lines:
            length = len(prefix)
            return {
                place[length:]: line for place, line in lines.items() if place[:length] == prefix
            }
    return {}
