"""Each part of kfgcp sees only those below it; heavy and impure things stay where they belong."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import kfgcp

ROOT = Path(kfgcp.__file__).parent
LAYERS = [
    {
        *(
            "atomic",
            "bucket_settings",
            "config",
            "config_files",
            "config_pipelines",
            "config_schedules",
            "config_tables",
            "cron",
            "cron_services",
            "cross_site",
            "data_folders",
            "deadlines",
            "errors",
            "installation",
            "event",
            "file_uris",
            "foreign_errors",
            "hosts",
            "labels",
            "log_lines",
            "machine",
            "model",
            "option_keywords",
            "options",
            "plain_text",
            "private",
            "settings",
            "query",
            "translation_tables",
        ),
        "sockets",
    },
    {"spec"},
    {"semantics"},
    {"rules", "store"},
    {"services"},
    {"engine"},
    {"diagnosis"},
    {"backends"},
    {"deploy"},
    {"tracking", "hooks"},
    {"workspace", "scaffold", "project_templates", "environments"},
    {"api", "testing"},
    {"cli"},
]
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
TOGETHER = [
    {
        "bucket_settings",
        "cross_site",
        "deadlines",
        "sockets",
        "errors",
        "installation",
        "foreign_errors",
        "event",
        "machine",
        "model",
        "config",
        "config_files",
        "config_pipelines",
        "config_schedules",
        "config_tables",
        "cron",
        "cron_services",
        "labels",
        "options",
        "option_keywords",
        "hosts",
        "settings",
        "query",
        "translation_tables",
    },
    {"workspace", "scaffold", "project_templates", "environments"},
]
"""Parts of one layer that may see each other; the others of a layer may not."""

ANY_SERVICE = (
    "testing/server.py",
    "testing/faults.py",
    "testing/requests.py",
    "testing/stand_in.py",
)
"""What stand-ins of all services share."""

KFP_IMPORTERS = (
    "spec/compile.py",
    "spec/userfile.py",
    "engine/executors/",
    "backends/kubeflow/native.py",
    "testing/in_process.py",
    # The messages PipelineSpec and PlatformSpec, as the server stores them.
    "testing/kubeflow_server/stored_specs.py",
)
PURE = (
    *("model.py", "event.py", "options.py", "query.py"),
    *(
        "spec/diff.py",
        "spec/digest.py",
        "spec/facts.py",
        "spec/graph.py",
        "spec/json_values.py",
        "spec/records.py",
        "spec/tasks.py",
        "spec/portable_requests.py",
        "spec/translate.py",
    ),
    "translation_tables.py",
    *("cron.py", "cron_services.py"),
    "spec/wire.py",
    *("store/search_tokens.py", "store/search_expressions.py", "store/conditions.py"),
    *(
        "tracking/compare.py",
        "tracking/difference.py",
        "tracking/metric_direction.py",
        "tracking/changes.py",
        "tracking/report.py",
        "tracking/format.py",
    ),
    "tracking/task_order.py",
    *(f"rules/{file.name}" for file in sorted((ROOT / "rules").glob("*.py"))),
    "backends/local/rules.py",
    *(f"backends/vertex/{file.name}" for file in (ROOT / "backends" / "vertex").glob("rules*.py")),
    *(f"semantics/{file.name}" for file in sorted((ROOT / "semantics").glob("*.py"))),
    "plain_text.py",
    # Not sarif.py, which writes paths as URIs. It opens none of them.
    *(f"rules/formats/{name}.py" for name in ("sentences", "github", "markdown", "matrix")),
)
IMPURE = {
    *(
        "asyncio",
        "io",
        "os",
        "pathlib",
        "random",
        "secrets",
        "shutil",
        "socket",
        "sqlite3",
        "subprocess",
    ),
    *("tempfile", "threading", "time", "urllib"),
}
SPEC_FIELDS = {
    *(
        "cachingOptions",
        "componentInputArtifact",
        "componentInputParameter",
        "componentRef",
        "dependentTasks",
    ),
    *(
        "executorLabel",
        "inputDefinitions",
        "isOptional",
        "outputDefinitions",
        "parameterIterator",
        "parameterType",
    ),
    *("producerSubtask", "producerTask", "taskFinalStatus", "taskOutputArtifact"),
    *("taskOutputParameter", "triggerPolicy"),
}
"""Names that only the JSON of a PipelineSpec has."""
# The files of templates are those of projects of users.
FILES = sorted(file for file in ROOT.rglob("*.py") if ROOT / "templates" not in file.parents)


def _imports(tree: ast.AST, file: Path) -> Iterator[str]:
    """Dotted names of all imports, those inside functions too; a name imported from a package
    counts as a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _of(name: str) -> list[str]:
    file = ROOT / name
    return list(_imports(ast.parse(file.read_text(encoding="utf-8")), file))


def _at_import(name: str) -> list[str]:
    """Dotted names of what a module imports when it is imported itself, or for its types."""
    file = ROOT / name
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.body = []
    return list(_imports(tree, file))


def _file_of(imported: str) -> str | None:
    """The file of one of our modules, from the dotted name of a module or of something in it."""
    for dotted in (imported, imported.rpartition(".")[0]):
        path = dotted.removeprefix("kfgcp").strip(".").replace(".", "/")
        for file in (f"{path}.py", f"{path}/__init__.py".strip("/")):
            if dotted.startswith("kfgcp") and (ROOT / file).is_file():
                return file
    return None


def _ours_at_import(name: str) -> set[str]:
    files = {_file_of(imported) for imported in _at_import(name)}
    return {file for file in files if file is not None} - {name}


def _part(name: str) -> str | None:
    """The part of kfgcp that a dotted name belongs to, None when it is not one of ours."""
    segments = name.split(".")
    return (
        segments[1]
        if segments[0] == "kfgcp" and len(segments) > 1 and segments[1] in LEVEL
        else None
    )


def _violations(importer: str, imports: list[str]) -> list[str]:
    violations = []
    for name in imports:
        part = _part(name)
        if part is None or part == importer or any({part, importer} <= group for group in TOGETHER):
            continue
        if LEVEL[part] >= LEVEL[importer]:
            violations.append(f"{importer} imports {name}")
    return violations


def test_every_part_has_a_layer() -> None:
    parts = {
        path.stem if path.is_file() else path.name
        for path in ROOT.iterdir()
        if path.name[0] not in "._"
    }

    # `py` is from py.typed. Nothing imports templates, which are files for new projects.
    assert parts - {"py", "templates"} == set(LEVEL)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_part_sees_only_those_below_it(file: Path) -> None:
    name = str(file.relative_to(ROOT))
    if name == "__init__.py":
        return
    importer = name.removesuffix(".py").partition("/")[0]

    assert _violations(importer, _of(name)) == []


def test_kfgcp_does_not_import_the_dashboard() -> None:
    """The dashboard imports `Workspace`, which starts it by its name."""
    importers = [
        name
        for name in (str(file.relative_to(ROOT)) for file in FILES)
        if any(imported.split(".")[0] == "kfgcp_dashboard" for imported in _of(name))
    ]

    assert importers == []


def test_kfp_is_imported_only_where_pipelines_compile_and_tasks_run_and_its_client_is_wanted() -> (
    None
):
    importers = [
        name
        for name in (str(file.relative_to(ROOT)) for file in FILES)
        if any(imported.split(".")[0] == "kfp" for imported in _of(name))
    ]

    assert [name for name in importers if not name.startswith(KFP_IMPORTERS)] == []
    assert "spec/compile.py" in importers


def test_only_the_folder_of_a_backend_knows_its_name() -> None:
    """Whatever differs from backend to backend is a flag or a capability of the backend."""
    dashboards = ROOT.parent / "dashboards" / "kfgcp_dashboard"
    comparisons = []
    for file in (*FILES, *dashboards.rglob("*.py")):
        name = str(file.relative_to(ROOT.parent))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Compare, ast.match_case)):
                constants = {
                    inner.value for inner in ast.walk(node) if isinstance(inner, ast.Constant)
                }
                others = [
                    backend
                    for backend in constants & {"local", "vertex", "kubeflow"}
                    if not name.startswith(f"kfgcp/backends/{backend}/")
                ]
                comparisons += [f"{name}: {ast.unparse(node)} ({backend})" for backend in others]

    assert comparisons == []


def test_only_some_modules_of_the_spec_know_the_names_of_its_fields() -> None:
    importers = {
        name
        for name in (str(file.relative_to(ROOT)) for file in FILES)
        for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in SPEC_FIELDS
    }

    assert importers == {
        "spec/wire.py",
        "spec/shapes.py",  # which documents are valid
        "spec/validate.py",
        "spec/digest.py",  # what does not count for a version
        "spec/facts.py",  # every field as a fact
        "spec/known_fields.py",  # which fields the proto has
        "testing/kubeflow_server/executions.py",  # records what a driver records
        "testing/seeds.py",  # writes a spec
        "testing/kubeflow_server/rules.py",  # changes one as a server does
    }


def test_only_a_workspace_reads_the_configuration_and_opens_the_store() -> None:
    callers = {name: set[str]() for name in ("load_project", "Store")}
    dashboards = ROOT.parent / "dashboards" / "kfgcp_dashboard"
    for file in (*FILES, *dashboards.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in callers:
                callers[ast.unparse(node.func)].add(str(file.relative_to(ROOT.parent)))

    assert callers["load_project"] == {
        "kfgcp/tracking/open_project.py",
        "kfgcp/environments.py",  # a file that is about to be written
    }
    assert callers["Store"] == {
        "kfgcp/tracking/open_project.py",
        "kfgcp/backends/registry.py",  # a backend that is opened alone, as in tests
        "kfgcp/backends/local/local_run.py",  # an engine process, which was given its run
        "kfgcp/testing/metadata_nodes.py",  # another class of that name
    }


@pytest.mark.parametrize("folder", ["vertex", "kubeflow"])
def test_a_remote_service_knows_neither_the_store_nor_its_mirror(folder: str) -> None:
    files = sorted((ROOT / "backends" / folder).rglob("*.py"))
    imported = {name for file in files for name in _of(str(file.relative_to(ROOT)))}

    assert "kfgcp.backends.service.ServiceRecords" in imported
    assert {
        name for name in imported if name.startswith(("kfgcp.store.", "kfgcp.backends.mirror"))
    } == set()


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_know_no_clock_disk_or_network(name: str) -> None:
    assert {imported.split(".")[0] for imported in _of(name)} & IMPURE == set()
    source = (ROOT / name).read_text(encoding="utf-8")
    calls = {
        ast.unparse(node.func).rpartition(".")[2]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
    }
    assert calls & {"open", "print", "now", "utcnow", "today"} == set()


def test_semantics_use_only_pure_modules() -> None:
    names = {str(file.relative_to(ROOT)) for file in (ROOT / "semantics").glob("*.py")}
    todo = [*names]
    while todo:
        used = {file for file in map(_file_of, _at_import(todo.pop())) if file is not None}
        todo += used - names
        names |= used

    # file_uris.py converts texts as the file system of this machine would read them. It opens no
    # file.
    impure = {
        name
        for name in names - {"__init__.py", "file_uris.py"}
        if {imported.split(".")[0] for imported in _of(name)} & IMPURE
    }
    assert impure == set()
    assert {"semantics/scheduler.py", "spec/graph.py", "model.py"} <= names


def test_only_the_local_backend_imports_the_engine() -> None:
    importers = {
        name
        for name in (str(file.relative_to(ROOT)) for file in FILES)
        if not name.startswith("engine/")
        and any(imported.startswith("kfgcp.engine") for imported in _of(name))
    }

    assert importers == {
        "backends/local/before_run.py",
        "backends/local/doctor.py",
        "backends/local/local_run.py",
        "backends/local/logs.py",
        "backends/local/service.py",
        "workspace/run_methods.py",  # which files of a run were deleted
    }


def test_services_know_no_run_and_no_backend() -> None:
    """A client of a service is used by the engine, the checks and the backends alike."""
    names = [str(file.relative_to(ROOT)) for file in (ROOT / "services").rglob("*.py")]
    imported = {dotted for name in names for dotted in _of(name)}
    above = ("backends", "diagnosis", "engine", "store", "tracking")

    assert "services/storage/downloads.py" in names
    assert {dotted for dotted in imported if _part(dotted) in above} == set()


def test_no_modules_import_each_other() -> None:
    imports = {
        name: _ours_at_import(name) for name in (str(file.relative_to(ROOT)) for file in FILES)
    }
    # `kfgcp/__init__.py` names all public types for type checkers, and no module imports anything
    # from it.
    del imports["__init__.py"]

    # Modules that import nothing that is left are taken away. What stays forms circles, or needs
    # them.
    while leaves := {name for name, used in imports.items() if not used & imports.keys()}:
        imports = {name: used for name, used in imports.items() if name not in leaves}
    assert imports == {}


def test_modules_of_tracking_import_each_other_not_even_inside_functions() -> None:
    names = {str(file.relative_to(ROOT)) for file in (ROOT / "tracking").glob("*.py")}
    imports = {name: {_file_of(used) for used in _of(name)} & names - {name} for name in names}
    assert imports["tracking/handle.py"] >= {"tracking/updates.py"}, "an import inside a function"

    while leaves := {name for name, used in imports.items() if not used & imports.keys()}:
        imports = {name: used for name, used in imports.items() if name not in leaves}

    assert imports == {}


@pytest.mark.parametrize("name", ANY_SERVICE)
def test_what_stand_ins_share_knows_no_service(name: str) -> None:
    shared = {f"kfgcp.testing.{Path(file).stem}" for file in ANY_SERVICE}
    ours = {imported.rpartition(".")[0] for imported in _of(name) if imported.startswith("kfgcp.")}

    assert ours <= shared | {"kfgcp.cross_site", "kfgcp.errors"}
    assert not [imported for imported in _of(name) if imported.split(".")[0] in ("google", "kfp")]


def test_a_wrong_import_would_be_found() -> None:
    tree = ast.parse(
        "def f():\n    from kfgcp.cli import output\n    import kfgcp.tracking.updates\n    from"
        " kfgcp import api"
    )

    assert _violations("store", list(_imports(tree, ROOT))) == [
        "store imports kfgcp.cli.output",
        "store imports kfgcp.tracking.updates",
        "store imports kfgcp.api",
    ]
    assert _violations("rules", ["kfgcp.store.store"]) == ["rules imports kfgcp.store.store"]
    assert _violations("cli", ["kfgcp.api.run", "os.path"]) == []
