"""Which pipelines can be launched: those in files of the project, and versions that have run
before."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from kfgcp.config import Project
from kfgcp.errors import UsageError
from kfgcp.model import Run
from kfgcp.spec.compile_process import compile_elsewhere
from kfgcp.spec.load import Spec, load
from kfgcp.workspace import Workspace

PATTERNS: Final = ("*.py", "*.yaml", "pipelines/**/*.py", "pipelines/**/*.yaml", "examples/**/*.py")
"""Where files of pipelines are, below the folder of kfgcp.toml; `pipelines` in [dashboard]."""
MOST: Final = 200
LARGEST: Final = 2_000_000


@dataclass(frozen=True, slots=True)
class Offer:
    """A pipeline to launch. key: as `kfgcp run` takes it, or `version:` and the id of a run of that
    version."""

    key: str
    title: str


def offers(project: Project, latest: Sequence[Run]) -> list[Offer]:
    """What can be launched.

    Args:
        project: whose files.
        latest: the newest run of each pipeline.
    """
    found = [Offer(key, key) for key in _in_files(project)]
    return found + [
        Offer(f"version:{run.run_id}", f"{run.pipeline} {run.version[7:15]} (has run)")
        for run in latest
    ]


def compiled(workspace: Workspace, key: str, known: Sequence[Offer]) -> Spec:
    """The pipeline of an offer. A Python file is compiled in a process of its own: what it imports,
    and whatever it does, stays out of the dashboard.

    Raises:
        UsageError: it is not among the known ones.
        SpecError: it does not compile.
    """
    if key not in {offer.key for offer in known}:
        raise UsageError(f"'{key}' is not one of the pipelines of this project.")
    if key.startswith("version:"):
        return workspace.spec_of(key.removeprefix("version:"))
    project = workspace.project
    file = project.root / key.partition(".py:")[0]
    if file.suffix == ".yaml":
        return replace(load(str(file)), origin=str(file))
    return compile_elsewhere(str(project.root / key), project.root)


def _in_files(project: Project) -> Iterator[str]:
    setting = project.dashboard.get("pipelines")
    patterns = PATTERNS if setting is None else setting.value
    files: dict[Path, None] = {}
    for pattern in patterns:
        for file in sorted(project.root.glob(pattern)):
            if file.is_file() and not any(
                part.startswith(".") for part in file.relative_to(project.root).parts
            ):
                files[file] = None
    for file in list(files)[:MOST]:
        yield from _of_file(file, str(file.relative_to(project.root)))


def _of_file(file: Path, name: str) -> Iterator[str]:
    try:
        if file.stat().st_size > LARGEST:
            return
        source = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return
    if file.suffix == ".yaml":
        if "pipelineInfo:" in source:
            yield name
        return
    if "pipeline" not in source:
        return
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    functions = [
        node.name for node in tree.body if isinstance(node, ast.FunctionDef) and _is_pipeline(node)
    ]
    for function in functions:
        yield name if len(functions) == 1 else f"{name}:{function}"


def _is_pipeline(node: ast.FunctionDef) -> bool:
    for decorator in node.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        if name == "pipeline":
            return True
    return False
