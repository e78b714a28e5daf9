"""The templates of new projects: folders below kfgcp/templates with a file template.toml.

template.toml has the place in the list, a summary, the command that runs the project, the extras of
kfgcp that it needs, and the names of data sets in kfgcp/templates/data. All other files of the
folder are files of the project. `{project}` in them is replaced by the name of the project.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kfgcp.errors import UsageError
from kfgcp.settings import did_you_mean

_FOLDER: Final = Path(__file__).parent / "templates"
_DESCRIPTION: Final = "template.toml"
_DATA: Final = "data"
_PROJECT: Final = "{project}"

# Only these files contain the name of the project. Braces in programs must stay.
_WITH_PROJECT: Final = ("kfgcp.toml", "README.md")


@dataclass(frozen=True, slots=True)
class Template:
    """A template of a new project.

    Attributes:
        name: its name, for `kfgcp init --template`.
        order: its place in the list of templates. The first one is for newcomers.
        summary: what its pipeline does, in one sentence.
        run: the command that runs it.
        extras: the extras of kfgcp that it needs.
        data: the names of its data sets.
        folder: the folder with its files.
    """

    name: str
    order: int
    summary: str
    run: str
    extras: tuple[str, ...]
    data: tuple[str, ...]
    folder: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of a project that is made from it, relative to the folder of the project."""
        return tuple(self._sources())

    @property
    def readme(self) -> str:
        """The README of a project that is made from it."""
        return (self.folder / "README.md").read_text(encoding="utf-8")

    def contents(self, project: str) -> dict[Path, bytes]:
        """Return the files of a new project with their contents.

        Args:
            project: the name of the project.
        """
        contents = {}
        for file, source in self._sources().items():
            content = source.read_bytes()
            if file.name in _WITH_PROJECT:
                content = content.replace(_PROJECT.encode(), project.encode())
            contents[file] = content
        return contents

    def _sources(self) -> Mapping[Path, Path]:
        """Return each file of a project, and the file of kfgcp with its content."""
        sources: dict[Path, Path] = {}
        for source in sorted(self.folder.rglob("*")):
            file = source.relative_to(self.folder)
            # A test run in this repository leaves bytecode.
            is_bytecode = "__pycache__" in file.parts
            if source.is_file() and file.name != _DESCRIPTION and not is_bytecode:
                sources[file] = source
        for name in self.data:
            data_folder = _FOLDER / _DATA
            sources[Path(_DATA, f"{name}.csv")] = data_folder / f"{name}.csv"
            sources[Path(_DATA, "README.md")] = data_folder / f"{name}.md"
        return sources


def all_templates() -> list[Template]:
    """Return all templates, in the order in which a newcomer learns them.

    Example:
        >>> [template.name for template in all_templates()][0]
        'train-gate-register'
    """
    templates = [_read(file.parent) for file in _FOLDER.glob(f"*/{_DESCRIPTION}")]
    return sorted(templates, key=lambda template: template.order)


def find_template(name: str) -> Template:
    """Return the template with a name.

    Raises:
        UsageError: kfgcp has no template with this name. The hint names all templates.
    """
    templates = {template.name: template for template in all_templates()}
    if name not in templates:
        raise UsageError(
            f"There is no template '{name}'.",
            hint=f"{did_you_mean(name, templates)}Templates: {', '.join(templates)}.",
        )
    return templates[name]


def _read(folder: Path) -> Template:
    description = tomllib.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
    return Template(
        name=folder.name,
        order=description["order"],
        summary=description["summary"],
        run=description["run"],
        extras=tuple(description.get("extras", ())),
        data=tuple(description.get("data", ())),
        folder=folder,
    )
