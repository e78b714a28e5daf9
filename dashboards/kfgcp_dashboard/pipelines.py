"""Find the pipelines that can be launched, and compile one of them.

A pipeline is in a file of the project, or it is a version that has run before.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from kfgcp import Project, Run, Spec, UsageError, Workspace
from kfgcp.deploy.images.pins import pin_images
from kfgcp.spec.compile_process import compile_elsewhere
from kfgcp.spec.load import load

# Where pipelines are, below the folder of kfgcp.toml. The setting `pipelines` in [dashboard]
# replaces these patterns.
DEFAULT_PATTERNS: Final = (
    "*.py",
    "*.yaml",
    "pipelines/**/*.py",
    "pipelines/**/*.yaml",
    "examples/**/*.py",
)

# The files are read each time that somebody opens the page, so a large folder must not slow it.
MAX_FILES: Final = 200
MAX_FILE_BYTES: Final = 2_000_000

_VERSION_PREFIX: Final = "version:"
_DIGEST_PREFIX: Final = "sha256:"
_SHORT_DIGEST: Final = 8


@dataclass(frozen=True, slots=True)
class PipelineSource:
    """A pipeline that can be launched.

    Attributes:
        key: a file as `kfgcp run` takes it, or `version:` and the id of a run of that version. It
            is part of addresses.
        title: for people.
    """

    key: str
    title: str


def find_sources(project: Project, latest_runs: Sequence[Run]) -> list[PipelineSource]:
    """Return the pipelines that can be launched.

    Args:
        project: has the files.
        latest_runs: the newest run of each pipeline.
    """
    sources = []
    for key in _find_in_files(project):
        source = PipelineSource(key, title=key)
        sources.append(source)
    for run in latest_runs:
        digest = run.version.removeprefix(_DIGEST_PREFIX)[:_SHORT_DIGEST]
        key = f"{_VERSION_PREFIX}{run.run_id}"
        sources.append(PipelineSource(key, f"{run.pipeline} {digest} (recorded)"))
    return sources


def compile_source(workspace: Workspace, key: str, sources: Sequence[PipelineSource]) -> Spec:
    """Return the compiled pipeline of a source.

    A Python file is compiled in a process of its own. So its imports and side effects stay out of
    the dashboard.

    Args:
        workspace: the project.
        key: of one of the sources. It comes from the address, so it can be any text.
        sources: the sources that `find_sources` returned.

    Raises:
        UsageError: no source has this key.
        SpecError: the pipeline does not compile.
    """
    if not any(source.key == key for source in sources):
        raise UsageError(f"'{key}' is not one of the pipelines of this project.")
    if key.startswith(_VERSION_PREFIX):
        return workspace.spec_of(key.removeprefix(_VERSION_PREFIX))
    project = workspace.project
    file = project.root / key.partition(".py:")[0]
    if file.suffix == ".yaml":
        spec = replace(load(str(file)), origin=str(file))
    else:
        spec = compile_elsewhere(str(project.root / key), project.root)
    return pin_images(spec, lambda: project)


def _find_in_files(project: Project) -> Iterator[str]:
    setting = project.dashboard.get("pipelines")
    patterns = DEFAULT_PATTERNS if setting is None else setting.value
    # A dict keeps the order of the patterns, and holds a file only once when two patterns match it.
    files: dict[Path, None] = {}
    for pattern in patterns:
        for file in sorted(project.root.glob(pattern)):
            if file.is_file() and not _is_hidden(file.relative_to(project.root)):
                files[file] = None
    for file in list(files)[:MAX_FILES]:
        yield from _find_in_file(file, str(file.relative_to(project.root)))


def _is_hidden(path: Path) -> bool:
    """Return whether a file is in a folder such as .venv, or is hidden itself."""
    return any(part.startswith(".") for part in path.parts)


def _find_in_file(file: Path, name: str) -> Iterator[str]:
    """Yield the keys of the pipelines in a file. The file is read, but not run."""
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            return
        source = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return
    if file.suffix == ".yaml":
        if "pipelineInfo:" in source:
            yield name
        return
    # Parsing is slow, and most files have no pipeline.
    if "pipeline" not in source:
        return
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    pipelines = [function.name for function in functions if _is_pipeline(function)]
    if len(pipelines) == 1:
        yield name
        return
    for pipeline in pipelines:
        yield f"{name}:{pipeline}"


def _is_pipeline(function: ast.FunctionDef) -> bool:
    """Return whether a function has the decorator `@dsl.pipeline` or `@pipeline`."""
    for decorator in function.decorator_list:
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        if isinstance(target, ast.Attribute) and target.attr == "pipeline":
            return True
        if isinstance(target, ast.Name) and target.id == "pipeline":
            return True
    return False
