"""The checks of `kfgcp doctor` for this machine find real problems, and their hints solve them."""

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from doctor_checks import Broken, Diagnose
from kfgcp import api
from kfgcp.backends.local import doctor as local
from kfgcp.errors import StateError
from kfgcp.installation import upgrade_hint
from kfgcp.model import Run
from kfgcp.store.store import Store
from kfgcp.testing import VertexStandIn
from kfgcp_command import Command, Somebody

CHECKS = ["config", "python", "kfp", "disk", "store", "uv", "docker"]


@pytest.fixture(autouse=True)
def no_docker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Lets no Docker engine answer, also on a machine with Docker."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-docker.sock")


def _list_files(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(file), file.stat().st_mtime_ns) for file in folder.rglob("*"))


def test_all_is_well_in_an_empty_folder_and_nothing_is_written(home: Path) -> None:
    before = _list_files(home)

    findings = {finding.check: finding for finding in api.doctor()}

    assert list(findings) == CHECKS
    assert [name for name, finding in findings.items() if not finding.ok] == ["docker"]
    assert findings["docker"].ok is None
    assert findings["docker"].hint == (
        "Start Docker, or set DOCKER_HOST. Lightweight Python components do not need Docker."
    )
    assert findings["config"].detail == "no kfgcp.toml, environment local: local"
    assert findings["kfp"].detail.startswith("2.")
    assert findings["uv"].detail.startswith("uv ")
    assert _list_files(home) == before


def test_an_environment_with_all_tasks_in_containers_needs_docker(home: Path) -> None:
    (home / "kfgcp.toml").write_text('[env.local]\nbackend = "local"\nexecutor = "docker"\n')

    finding = api.doctor()[-1]

    assert (finding.check, finding.ok) == ("docker", False)
    assert finding.hint.startswith("Start Docker, or set DOCKER_HOST.")


def test_after_a_run(home: Path, store: Store, make_run: Callable[..., Run]) -> None:
    store.add_run(make_run())
    before = (home / ".kfgcp/kfgcp.db").read_bytes()

    findings = {finding.check: finding for finding in api.doctor()}

    assert findings["store"].detail == str(home / ".kfgcp" / "kfgcp.db")
    assert (home / ".kfgcp/kfgcp.db").read_bytes() == before


def test_an_index_of_an_older_kfgcp_is_not_brought_up_to_date(
    diagnose: Diagnose, home: Path
) -> None:
    (home / ".kfgcp").mkdir()
    with sqlite3.connect(home / ".kfgcp/kfgcp.db") as database:
        database.execute("PRAGMA user_version = 1")
    database.close()

    assert diagnose(backend="local")["store"].ok
    with sqlite3.connect(home / ".kfgcp/kfgcp.db") as database:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)
    database.close()


@pytest.mark.parametrize("version", [None, 10**6])
def test_an_index_that_cannot_be_used(
    diagnose: Diagnose, broken: Broken, home: Path, version: int | None
) -> None:
    file = home / ".kfgcp/kfgcp.db"
    file.parent.mkdir()
    if version is None:
        file.write_bytes(b"no database " * 1000)
    else:
        with sqlite3.connect(file) as database:
            database.execute(f"PRAGMA user_version = {version}")
        database.close()

    finding = broken(diagnose(backend="local"))

    assert (finding.check, finding.exit_code) == ("store", 5)
    if version is None:
        assert finding.detail.startswith(f"{file} is damaged: ")
        assert f"mv '{file}' '{file}.damaged'" in finding.hint
        shutil.move(file, f"{file}.damaged")
        assert diagnose(backend="local")["store"].ok
    else:
        assert finding.detail.startswith("A newer kfgcp wrote ")
        assert finding.hint == upgrade_hint()


def test_an_index_with_a_page_that_was_overwritten(
    diagnose: Diagnose, broken: Broken, home: Path, store: Store
) -> None:
    store.close()
    with (home / ".kfgcp/kfgcp.db").open("r+b") as file:
        # The header of the second page. The page is not a tree after this.
        file.seek(4096)
        file.write(b"\xff" * 64)

    assert broken(diagnose(backend="local")).check == "store"


def test_too_little_room(home: Path) -> None:
    with pytest.raises(StateError) as caught:
        local.disk(home / ".kfgcp", needed=10**18)

    assert (
        f"for the state folder {home}/.kfgcp, and 1000000000000 MB are needed."
        in caught.value.message
    )
    assert "export KFGCP_HOME=FOLDER" in caught.value.hint


def test_a_kfp_that_cannot_be_imported(kfgcp: Command, home: Path, tmp_path: Path) -> None:
    (tmp_path / "bad" / "kfp").mkdir(parents=True)
    (tmp_path / "bad" / "kfp" / "__init__.py").write_text(
        "raise ImportError('built for another Python')"
    )

    result = kfgcp("doctor", env={"PYTHONPATH": str(tmp_path / "bad")})

    assert result.code == 5
    assert result.out.splitlines()[-1].split(None, 2)[1:] == [
        "kfp",
        "kfp cannot be imported: ImportError: built for another Python",
    ]
    assert "-m pip install 'kfp>=2.10,<3'" in result.err
    assert kfgcp("doctor").code == 0


def test_an_old_kfp(kfgcp: Command, home: Path, tmp_path: Path) -> None:
    (tmp_path / "old" / "kfp").mkdir(parents=True)
    (tmp_path / "old" / "kfp" / "__init__.py").write_text("__version__ = '1.8.22'")
    (tmp_path / "old" / "kfp" / "compiler.py").write_text("")

    result = kfgcp("doctor", env={"PYTHONPATH": str(tmp_path / "old")})

    assert (result.code, "kfp 1.8.22 is installed; this kfgcp works with kfp 2." in result.out) == (
        5,
        True,
    )


@pytest.mark.parametrize("exists", [False, True])
def test_a_state_folder_that_cannot_be_written(somebody: Somebody, exists: bool) -> None:
    home = somebody.folder / ".kfgcp"
    if exists:
        with Store(home):
            pass
        for path in (*home.rglob("*"), home):
            path.chmod(0o555 if path.is_dir() else 0o444)
    somebody.folder.chmod(0o555)
    try:
        result = somebody.kfgcp("doctor", "--json")
        result_elsewhere = somebody.kfgcp("doctor", "--json", KFGCP_HOME=tempfile.gettempdir())
    finally:
        for path in (somebody.folder, home):
            if path.exists():
                path.chmod(0o755)

    finding = json.loads(result.out)[-1]
    assert (result.code, result_elsewhere.code) == (5, 0)
    assert (finding["check"], finding["detail"]) == (
        "store",
        f"The state folder {home} cannot be written.",
    )
    assert finding["hint"] == "Make the folder writable, or set KFGCP_HOME to a writable folder."


def test_a_pipeline_root_here(diagnose: Diagnose, home: Path) -> None:
    assert diagnose(backend="local", pipeline_root="out/runs")["pipeline_root"].detail == str(
        home / "out/runs"
    )
    assert not (home / "out").exists()


def test_a_pipeline_root_in_a_bucket(
    diagnose: Diagnose, broken: Broken, vertex_stand_in: VertexStandIn
) -> None:
    finding = broken(diagnose(backend="local", pipeline_root="gs://not-there/runs"))
    assert finding.check == "pipeline_root"
    assert finding.detail.startswith(
        "The pipeline root of environment 'dev' cannot be used: gs://not-there/runs cannot be"
        " listed: "
    )

    vertex_stand_in.make_bucket("not-there")

    assert diagnose(backend="local", pipeline_root="gs://not-there/runs")["pipeline_root"].ok


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        (
            "[env.dev]\nbackend = 'local'\nparallel = 3\n",
            "kfgcp.toml [env.dev]: unknown key 'parallel'.",
        ),
        ("", "There is no environment 'dev' (kfgcp.toml)."),
        (
            "[env.dev]\nbackend = 'vertex'\n",
            (
                "Environment 'dev' has no project, location and pipeline_root, which the backend"
                " 'vertex' needs."
            ),
        ),
    ],
)
def test_a_configuration_that_is_wrong(kfgcp: Command, home: Path, text: str, detail: str) -> None:
    (home / "kfgcp.toml").write_text(text)

    result = kfgcp("doctor", "--env", "dev", "--json")

    assert result.code == 2
    (finding,) = result.json
    assert (finding["check"], finding["ok"], finding["detail"]) == ("config", False, detail)
    assert finding["hint"]
