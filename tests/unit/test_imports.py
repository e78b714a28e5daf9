"""What is imported when, in fresh interpreters: starting is quick because heavy things are left for
later."""

import ast
import importlib
import inspect
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest_socket import SocketConnectBlockedError

from patience import PROCESS

HEAVY = (
    *(
        "asyncio",
        "docker",
        "google",
        "kfp",
        "numpy",
        "pandas",
        "pyarrow",
        "pydantic",
        "requests",
        "rich",
        "sklearn",
    ),
    *("sqlite3", "streamlit", "yaml"),
)


def _imported(code: str, environ: dict[str, str], cwd: Path) -> set[str]:
    """The top-level modules that a fresh interpreter has when the code is through.

    Namespace packages count when something in them was loaded: .pth files make some known at every
    start.
    """
    code += (
        "\nimport sys\nloaded = [name for name, module in sys.modules.items() if getattr(module,"
        " '__file__', None)]\nprint('imported:', *{name.partition('.')[0] for name in loaded})"
    )
    # Coverage imports modules of its own into every process that it measures.
    environ.pop("COVERAGE_PROCESS_CONFIG", None)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environ,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PROCESS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize(
    "code",
    [
        "import kfgcp",
        "import kfgcp; kfgcp.KfgcpError, kfgcp.Run, dir(kfgcp)",
        "import kfgcp; kfgcp.RunOptions(env='dev').changed(cache=True).to_dict()",
        "import kfgcp.testing; dir(kfgcp.testing)",
        "import pytest, kfgcp.testing.pytest_plugin",
        "from kfgcp.cli.main import _exit_code; assert _exit_code(['--help']) == 0",
        "from kfgcp.cli.main import _exit_code; assert _exit_code(['--version']) == 0",
        "from kfgcp.cli.main import _exit_code; assert _exit_code(['rnu']) == 2",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_used(
    code: str, home: Path, environment: Callable[[], dict[str, str]]
) -> None:
    offenders = _imported(code, environment(), home) & set(HEAVY)

    assert not offenders, f"{code} imports {', '.join(sorted(offenders))}"


def test_the_watched_modules_are_those_that_are_there(
    home: Path, environment: Callable[[], dict[str, str]]
) -> None:
    """So that the test above cannot pass because a name is misspelt."""
    assert _imported("import kfp.dsl, rich, sqlite3, pandas", environment(), home) >= {
        *("kfp", "rich", "sqlite3", "pandas", "numpy", "yaml"),
    }


def test_the_engine_runs_a_compiled_pipeline_without_kfp(
    home: Path, pipeline: Callable[[str], Path], environment: Callable[[], dict[str, str]]
) -> None:
    """Only the process that tasks are forked from has it."""
    code = (
        "from kfgcp.cli.main import _exit_code; assert _exit_code(['run',"
        f" {str(pipeline('echo'))!r}]) == 0"
    )

    imported = _imported(code, environment(), home)

    offenders = imported & {
        *(
            "kfp",
            "google",
            "kubernetes",
            "packaging",
            "pandas",
            "numpy",
            "pyarrow",
            "requests",
            "asyncio",
        )
    }
    assert not offenders, f"kfgcp run imports {', '.join(sorted(offenders))}"
    assert {"sqlite3", "yaml"} <= imported


def test_the_public_names_are_the_types_and_the_functions() -> None:
    package = importlib.import_module("kfgcp")
    namespace: dict[str, object] = {}
    exec("from kfgcp import *", namespace)  # noqa: S102
    hidden_by_python = {"compile", "list", "open"}

    assert dir(package) == sorted({*package._MODULE_OF_TYPE, *package._FUNCTIONS})
    assert namespace.keys() - {"__builtins__"} == set(package.__all__)
    assert set(package.__all__) == set(dir(package)) - hidden_by_python
    for name in dir(package):
        public = getattr(package, name)
        if name in ("JsonValue", "RunUpdate"):  # a union has no name
            continue
        assert public.__name__ == name
        assert public.__module__.partition(".")[0] == "kfgcp"
        assert public.__doc__, name


def test_type_checkers_see_the_public_names() -> None:
    """Type checkers read the imports and assignments below TYPE_CHECKING, not the tables."""
    package = importlib.import_module("kfgcp")
    tree = ast.parse(Path(package.__file__ or "").read_text(encoding="utf-8"))
    (checked,) = [node for node in tree.body if isinstance(node, ast.If)]
    module_of_type: dict[str, str] = {}
    functions: list[str] = []
    for node in checked.body:
        if isinstance(node, ast.ImportFrom):
            module_of_type |= {alias.asname or "": str(node.module) for alias in node.names}
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute):
            functions.append(ast.unparse(node.targets[0]))

    assert module_of_type == package._MODULE_OF_TYPE
    assert functions == list(package._FUNCTIONS)


def test_a_function_is_the_method_of_the_default_workspace(home: Path) -> None:
    import kfgcp

    assert str(inspect.signature(kfgcp.show)).startswith("(run: 'RunLike' = 'latest')")
    assert kfgcp.show.__doc__ == kfgcp.Workspace.show.__doc__
    assert pickle.loads(pickle.dumps(kfgcp.show)) is kfgcp.show  # noqa: S301 - our own bytes
    assert kfgcp.init is kfgcp.Workspace.init
    with pytest.raises(kfgcp.UsageError, match="There are no runs yet"):
        kfgcp.show()


def test_all_that_is_returned_or_raised_can_be_imported_from_the_package() -> None:
    """Of the methods of `Workspace` and the handles, and of what these return in turn."""
    import kfgcp
    from kfgcp import errors

    raised = [
        name
        for name, value in vars(errors).items()
        if getattr(value, "__module__", "") == errors.__name__
    ]
    seen = {"Store", "Backend", "Rule", "Ignored"}  # what these return in turn is not for users
    waiting = ["Workspace", "RunHandle", "TaskHandle", *raised]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting.extend(_returned(getattr(kfgcp, name)))

    assert {"Run", "TaskState", "Comparison", "Finding", "Project", "LogLine", "Spec"} <= seen


FOREIGN = {
    "Literal",
    "Any",
    "Callable",
    "DataFrame",
    "Final",
    "Iterable",
    "Iterator",
    "Mapping",
    "None",
    "Path",
    "Self",
    "Sequence",
}
ALIASES: dict[str, set[str]] = {
    "JsonValue": set(),
    "PipelineLike": {"Spec"},
    "Pipeline": {"Spec", "RunHandle", "Run"},
    "RunLike": {"RunHandle", "Run"},
    "JsonObject": set(),
    "Version": set(),  # a tuple of numbers
}


def _returned(cls: type) -> Iterator[str]:
    """The names of the types that public methods, properties and fields give, as their annotations
    have them."""
    texts = list(getattr(cls, "__annotations__", {}).values())
    for name, member in inspect.getmembers_static(cls):
        function = (
            member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        )
        if not name.startswith("_") and inspect.isfunction(function):
            texts.append(function.__annotations__.get("return", ""))
    for text in texts:
        # Of `Annotated[bool, Option("...")]`, the type of the value is the first part.
        type_text = re.sub(r"^Annotated\[(.*?), Option\(.*", r"\1", str(text), flags=re.DOTALL)
        for name in set(re.findall(r"[A-Z]\w*", type_text)) - FOREIGN:
            yield from ALIASES.get(name, {name})


def test_verbs_handles_and_runs_are_fully_typed() -> None:
    """Before, `reveal_type(run.task("train").state)` was Any, and a type checker accepted a wrong
    attribute."""
    import kfgcp

    frozen = (
        kfgcp.RunOptions,
        kfgcp.Run,
        kfgcp.Task,
        kfgcp.Artifact,
        kfgcp.Metric,
        kfgcp.ErrorInfo,
        kfgcp.Cache,
        kfgcp.Update,
        kfgcp.RunChanged,
        kfgcp.TaskChanged,
        kfgcp.LogWritten,
        kfgcp.RunEnded,
    )
    results = (
        kfgcp.Comparison,
        kfgcp.Difference,
        kfgcp.Diff,
        kfgcp.Change,
        kfgcp.Finding,
        kfgcp.Deleted,
    )
    untyped: list[str] = []
    for cls in (
        kfgcp.Workspace,
        kfgcp.RunHandle,
        kfgcp.TaskHandle,
        kfgcp.LogLine,
        *frozen,
        *results,
    ):
        assert not hasattr(cls, "__getattr__"), cls
        for name, member in inspect.getmembers_static(cls):
            function = (
                member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            )
            is_public = name == "__init__" or not name.startswith("_")
            if is_public and inspect.isfunction(function):
                texts = map(str, function.__annotations__.values())
                untyped.extend(
                    f"{cls.__name__}.{name}" for text in texts if re.search(r"\bAny\b", text)
                )

    assert untyped == []
    assert kfgcp.TaskHandle.state.fget.__annotations__ == {"return": "TaskState"}  # type: ignore[attr-defined]


def test_other_names_are_not_there() -> None:
    package = importlib.import_module("kfgcp")

    with pytest.raises(AttributeError, match="module 'kfgcp' has no attribute 'rnu'"):
        package.rnu  # noqa: B018


def test_every_verb_of_the_command_has_its_function() -> None:
    from kfgcp.cli.verbs import verb_names

    of_their_own = {
        "testing",
        "env",
        "images",
        "schedule",
        "template",
        "version",
    }  # kfgcp.testing is a package, `env import` is kfgcp.import_env, `template list` is
    # kfgcp.templates, and `images`, `schedules` and `versions` are attributes.
    assert set(verb_names()) - of_their_own <= set(dir(importlib.import_module("kfgcp")))


@pytest.mark.filterwarnings("ignore:A test tried to use socket")
def test_tests_reach_no_other_machine() -> None:
    import socket

    with socket.socket() as connection, pytest.raises(SocketConnectBlockedError):
        connection.connect(("192.0.2.1", 80))
