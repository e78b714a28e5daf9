"""The dashboard uses kfgcp, and kfgcp does not need the dashboard."""

import ast
from collections.abc import Iterator
from pathlib import Path

import kfgcp
import kfgcp_dashboard

KFGCP = Path(kfgcp.__file__).parent
DASHBOARD = Path(kfgcp_dashboard.__file__).parent

# The modules that the dashboard uses besides the public names of kfgcp. Before you add one, look
# whether `Workspace` or another public name does the same.
INTERNAL_MODULES = {
    # what backends can do, and what is known about them without opening one
    "kfgcp.backends.base",
    "kfgcp.backends.local.service",
    "kfgcp.backends.registry",
    # addresses, hosts and requests of foreign pages, as for the other servers of kfgcp
    "kfgcp.bucket_settings",
    "kfgcp.config",
    "kfgcp.cross_site",
    # a pipeline that a person uploads gets the images of the project
    "kfgcp.deploy.images.pins",
    "kfgcp.file_uris",
    "kfgcp.hosts",
    "kfgcp.model",
    # pipelines: their graphs, parameters, versions
    "kfgcp.spec.compile_process",
    "kfgcp.spec.diff",
    "kfgcp.spec.graph",
    "kfgcp.spec.load",
    "kfgcp.spec.params",
    "kfgcp.spec.validate",
    "kfgcp.spec.records",
    # runs as tables, comparisons and texts, the same as on the command line
    "kfgcp.store.search_expressions",
    "kfgcp.tracking.artifact_contents",
    "kfgcp.tracking.compare",
    "kfgcp.tracking.csv_text",
    "kfgcp.tracking.difference",
    "kfgcp.tracking.format",
    "kfgcp.tracking.metric_direction",
    "kfgcp.tracking.table",
}


def _imported_modules(file: Path) -> Iterator[str]:
    """Yield the modules of kfgcp that a file imports; `kfgcp` stands for its public names."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                is_module = _is_module(f"{node.module}.{alias.name}")
                yield f"{node.module}.{alias.name}" if is_module else str(node.module)


def _is_module(name: str) -> bool:
    path = KFGCP.parent.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def test_the_dashboard_imports_public_names_and_few_internal_modules() -> None:
    imported = set()
    for file in DASHBOARD.rglob("*.py"):
        imported |= {name for name in _imported_modules(file) if name.startswith("kfgcp.")}

    assert imported == INTERNAL_MODULES


def test_each_name_that_the_dashboard_imports_from_kfgcp_is_public() -> None:
    names = set()
    for file in DASHBOARD.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "kfgcp":
                names |= {alias.name for alias in node.names}
    names = {name for name in names if not _is_module(f"kfgcp.{name}")}

    assert "Workspace" in names
    assert names <= set(kfgcp.__all__)


def test_kfgcp_knows_the_dashboard_in_one_place_only() -> None:
    """`Workspace.dashboard` starts it. Everything else works when it is not installed."""
    files = [
        file
        for file in KFGCP.rglob("*.py")
        if "kfgcp_dashboard" in file.read_text(encoding="utf-8")
    ]

    assert len(files) == 1
    assert "Workspace" in files[0].read_text(encoding="utf-8")
