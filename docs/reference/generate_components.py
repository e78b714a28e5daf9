"""Write README.md of each component, and the table of components in components/README.md.

`make reference` runs it, and a test compares the results with the files. The text comes from the
component: its signature, its docstring, the docstring of its module after the first line, and the
`example.py` in its folder.
"""

from __future__ import annotations

import ast
import inspect
import json
from importlib import import_module
from pathlib import Path
from typing import Final, Protocol

import docstring_parser

import kfgcp_components

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGE: Final = ROOT / "components" / "kfgcp_components"
OVERVIEW: Final = ROOT / "components" / "README.md"

# The table of all components stands between these lines.
TABLE_BEGIN: Final = "<!-- components: written by make reference -->"
TABLE_END: Final = "<!-- end of components -->"

FAMILIES: Final = ("data", "train", "evaluate", "ship", "operate")

# The words of KFP's Python SDK for the types of parameters.
PARAMETER_TYPES: Final = {
    "String": "string",
    "Integer": "int",
    "Float": "float",
    "Boolean": "bool",
    "Dict": "dict",
    "List": "list",
    "PipelineTaskFinalStatus": "PipelineTaskFinalStatus",
}

_NOTE: Final = "<!-- Written by `make reference` from component.py and example.py. -->"


class Slot(Protocol):
    """An input or an output in the specification of a component of KFP."""

    type: str


class Component:
    """What the pages say of a component.

    Attributes:
        name: the name that users import.
        folder: the folder of the component.
        family: the folder above it, such as "train".
        summary: the first sentence of its docstring.
    """

    def __init__(self, name: str) -> None:
        """Load the component."""
        component = getattr(kfgcp_components, name)
        function = component.python_func
        docstring = docstring_parser.parse(inspect.getdoc(function) or "")
        self.name = name
        self.folder = Path(inspect.getfile(function)).parent
        self.family = self.folder.parent.name
        self.summary = docstring.short_description or ""
        self._description = docstring.long_description or ""
        self._meanings = {
            parameter.arg_name: " ".join((parameter.description or "").split())
            for parameter in docstring.params
        }
        if docstring.returns:
            self._meanings["Output"] = " ".join((docstring.returns.description or "").split())
        self._inputs = component.component_spec.inputs or {}
        self._outputs = component.component_spec.outputs or {}

    def render(self) -> str:
        """Return the README of the component as Markdown."""
        parts = [f"# {self.name}", _NOTE, self.summary]
        if self._description:
            parts.append(self._description)
        if self._inputs:
            parts.append(self._input_table())
        if self._outputs:
            parts.append(self._output_table())
        parts += ["## Example", f"```python\n{self._example()}\n```"]
        details = self._details()
        if details and not details.startswith("#"):
            parts.append("## Details")
        if details:
            parts.append(details)
        return "\n\n".join(parts) + "\n"

    def overview_row(self) -> str:
        """Return the row of the component in the table of all components."""
        link = (self.folder / "README.md").relative_to(OVERVIEW.parent).as_posix()
        return f"| {self.family} | [`{self.name}`]({link}) | {self.summary} |"

    def _input_table(self) -> str:
        rows = ["| Input | Type | Default | Meaning |", "| --- | --- | --- | --- |"]
        for name, slot in self._inputs.items():
            default = f"`{json.dumps(slot.default)}`" if slot.optional else "required"
            rows.append(f"| `{name}` | {_type_name(slot)} | {default} | {self._meaning(name)} |")
        return "\n".join(rows)

    def _output_table(self) -> str:
        rows = ["| Output | Type | Meaning |", "| --- | --- | --- |"]
        for name, slot in self._outputs.items():
            rows.append(f"| `{name}` | {_type_name(slot)} | {self._meaning(name)} |")
        return "\n".join(rows)

    def _meaning(self, name: str) -> str:
        meaning = self._meanings.get(name)
        if not meaning:
            raise ValueError(f"The docstring of {self.name} does not describe {name!r}.")
        return meaning.replace("|", "\\|")

    def _example(self) -> str:
        """Return the source of the example without the docstring of its module."""
        source = (self.folder / "example.py").read_text(encoding="utf-8")
        docstring_end = ast.parse(source).body[0].end_lineno or 0
        return "\n".join(source.splitlines()[docstring_end:]).strip()

    def _details(self) -> str:
        """Return the docstring of the module without its first line."""
        module = import_module(f"kfgcp_components.{self.family}.{self.folder.name}.component")
        _, _, details = (inspect.getdoc(module) or "").partition("\n")
        return details.strip()


def _type_name(slot: Slot) -> str:
    """Return the type of an input or output in the words of the SDK, such as "Dataset"."""
    artifact_type = slot.type.partition("@")[0].removeprefix("system.")
    type_name = PARAMETER_TYPES.get(slot.type, artifact_type)
    return f"list of {type_name}" if getattr(slot, "is_artifact_list", False) else type_name


def components() -> list[Component]:
    """Return all components in the order of the families, then by name."""
    loaded = [Component(name) for name in kfgcp_components.__all__]
    return sorted(loaded, key=lambda item: (FAMILIES.index(item.family), item.name))


def render_overview() -> str:
    """Return components/README.md with its table of components."""
    before, _, rest = OVERVIEW.read_text(encoding="utf-8").partition(TABLE_BEGIN)
    _, _, after = rest.partition(TABLE_END)
    rows = ["| Family | Component | What it does |", "| --- | --- | --- |"]
    rows += [component.overview_row() for component in components()]
    table = "\n".join(rows)
    return f"{before}{TABLE_BEGIN}\n{table}\n{TABLE_END}{after}"


def render_all() -> dict[Path, str]:
    """Return the text of each page by its path."""
    pages = {component.folder / "README.md": component.render() for component in components()}
    pages[OVERVIEW] = render_overview()
    return pages


if __name__ == "__main__":
    for path, text in render_all().items():
        path.write_text(text, encoding="utf-8")
