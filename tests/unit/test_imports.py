"""What is imported when, in fresh interpreters: starting is quick because heavy things are left for later."""

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_socket import SocketConnectBlockedError

from patience import PROCESS

HEAVY = (
    *("asyncio", "docker", "google", "kfp", "numpy", "pandas", "pyarrow", "pydantic", "requests", "rich", "sklearn"),
    *("sqlite3", "streamlit", "yaml"),
)
PUBLIC = [
    *(
        "KfgcpError",
        "Run",
        "RunFailed",
        "RunState",
        "Task",
        "TaskState",
        "artifacts",
        "cancel",
        "compare",
        "compile",
        "dashboard",
        "delete",
        "diff",
        "doctor",
        "export",
        "import_env",
        "init",
        "list",
    ),
    *("logs", "metrics", "note", "rerun", "resume", "retry", "run", "runs", "show", "submit", "tag", "tasks", "watch"),
]


def _imported(code: str, environ: dict[str, str], cwd: Path) -> set[str]:
    """The top-level modules that a fresh interpreter has when the code is through.

    Namespace packages count when something in them was loaded: .pth files make some known at every start.
    """
    code += (
        "\nimport sys\nloaded = [name for name, module in sys.modules.items() if getattr(module, '__file__', None)]"
        "\nprint('imported:', *{name.partition('.')[0] for name in loaded})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, cwd=cwd, capture_output=True, text=True, timeout=PROCESS, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize(
    "code",
    [
        "import kfgcp",
        "import kfgcp; kfgcp.KfgcpError, kfgcp.Run, dir(kfgcp)",
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


def test_the_watched_modules_are_those_that_are_there(home: Path, environment: Callable[[], dict[str, str]]) -> None:
    """So that the test above cannot pass because a name is misspelt."""
    assert _imported("import kfp.dsl, rich, sqlite3, pandas", environment(), home) >= {
        *("kfp", "rich", "sqlite3", "pandas", "numpy", "yaml"),
    }


def test_the_engine_runs_a_compiled_pipeline_without_kfp(
    home: Path, pipeline: Callable[[str], Path], environment: Callable[[], dict[str, str]]
) -> None:
    """Only the process that tasks are forked from has it."""
    code = f"from kfgcp.cli.main import _exit_code; assert _exit_code(['run', {str(pipeline('echo'))!r}]) == 0"

    imported = _imported(code, environment(), home)

    offenders = imported & {
        *("kfp", "google", "kubernetes", "packaging", "pandas", "numpy", "pyarrow", "requests", "asyncio")
    }
    assert not offenders, f"kfgcp run imports {', '.join(sorted(offenders))}"
    assert {"sqlite3", "yaml"} <= imported


def test_the_public_names_are_pinned() -> None:
    package = importlib.import_module("kfgcp")

    assert package.__all__ == PUBLIC
    assert dir(package) == PUBLIC
    for name in PUBLIC:
        assert getattr(package, name).__name__ == name
        assert getattr(package, name).__module__.startswith("kfgcp.")
        assert getattr(package, name).__doc__, name


def test_other_names_are_not_there() -> None:
    package = importlib.import_module("kfgcp")

    with pytest.raises(AttributeError, match="module 'kfgcp' has no attribute 'rnu'"):
        package.rnu  # noqa: B018


def test_every_verb_of_the_command_has_its_function() -> None:
    from kfgcp.cli.main import VERBS

    of_their_own = {"testing", "env"}  # kfgcp.testing is a package; `env import` is kfgcp.import_env
    assert set(VERBS) - of_their_own <= set(PUBLIC)


@pytest.mark.filterwarnings("ignore:A test tried to use socket")
def test_tests_reach_no_other_machine() -> None:
    import socket

    with socket.socket() as connection, pytest.raises(SocketConnectBlockedError):
        connection.connect(("192.0.2.1", 80))
