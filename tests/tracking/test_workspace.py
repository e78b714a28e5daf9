"""A workspace owns a project: its configuration, its store and the backends of each thread."""

import pickle
import shutil
import sqlite3
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kfgcp.backends.base import RunRef
from kfgcp.errors import ConfigError, StateError, UsageError
from kfgcp.installation import upgrade_hint
from kfgcp.model import Run
from kfgcp.store.store import Store
from kfgcp.workspace import Workspace
from kfgcp_command import Somebody
from patience import REQUEST

MakeRun = Callable[..., Run]


def test_the_configuration_is_found_from_the_folder_upwards(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "kfgcp.toml").write_text('[project]\nname = "churn"\n')
    below = home / "pipelines" / "old"
    below.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    for path in (home, str(below), home / "kfgcp.toml"):
        with Workspace.open(path) as workspace:
            assert (workspace.project.name, workspace.project.root) == ("churn", home)


def test_a_local_run_of_an_environment_that_is_not_valid_does_not_belong_to_local(
    home: Path,
) -> None:
    (home / "kfgcp.toml").write_text('[env.minio]\nbackend = "local"\ns3_endpoint = "minio"\n')

    with Workspace.open() as workspace:
        assert workspace.environment_of("removed", "local").name == "local"
        with pytest.raises(ConfigError, match=r"\[env\.minio\]: s3_endpoint is 'minio', not a URL"):
            workspace.environment_of("minio", "local")


def test_opening_and_reading_make_no_state_folder(home: Path) -> None:
    with Workspace.open() as workspace:
        assert workspace.recorded_store is None
        assert not (home / ".kfgcp").exists()

        assert workspace.store.page() == []

    assert (home / ".kfgcp").is_dir()


def test_a_workspace_has_one_store_and_each_thread_a_backend(home: Path) -> None:
    with Workspace.open() as workspace, ThreadPoolExecutor(1) as pool:
        backend = workspace.backend("local")

        assert workspace.backend() is backend
        other_backend = pool.submit(workspace.backend, "local").result(REQUEST)
        assert other_backend is not backend
        assert pool.submit(workspace.backend, "local").result(REQUEST) is other_backend
        assert pool.submit(lambda: workspace.store).result(REQUEST) is workspace.store


# -- bad input


def test_a_folder_that_is_not_there_is_a_usage_error(home: Path) -> None:
    with pytest.raises(UsageError, match=r"There is no folder .*/nowhere\."):
        Workspace.open(home / "nowhere")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[project", "is not valid TOML"),
        ("[proj]\n", "unknown key 'proj'"),
        ("env = 1\n", "env must be a table"),
    ],
)
def test_a_configuration_that_is_not_valid_is_a_config_error(
    home: Path, text: str, message: str
) -> None:
    (home / "kfgcp.toml").write_text(text)

    with pytest.raises(ConfigError, match=message):
        Workspace.open()
    with pytest.raises(ConfigError, match=message):
        _ = Workspace.default().project


def test_a_read_only_folder_can_be_opened_and_refuses_to_record(somebody: Somebody) -> None:
    somebody.folder.chmod(0o555)
    code = (
        "from kfgcp.workspace import Workspace\n"
        "with Workspace.open() as workspace:\n"
        "    print(workspace.recorded_store)\n"
        "    workspace.store\n"
    )

    done = somebody.run(sys.executable, "-c", code)

    assert done.out == "None\n"
    error = done.err.splitlines()[-1]
    assert (
        error
        == f"kfgcp.errors.StateError: The state folder {somebody.folder}/.kfgcp cannot be written."
    )


def test_a_store_of_a_newer_kfgcp_is_a_state_error_and_left_alone(store: Store, home: Path) -> None:
    store.close()
    file = home / ".kfgcp" / "kfgcp.db"
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = file.read_bytes()

    with pytest.raises(StateError, match="A newer kfgcp wrote") as caught:
        Workspace.open()

    assert caught.value.hint == upgrade_hint()
    assert file.read_bytes() == before


def test_a_workspace_after_close_is_one_clear_error(home: Path) -> None:
    with Workspace.open() as workspace:
        backend = workspace.backend("local")
    workspace.close()

    for use in (
        lambda: workspace.project,
        lambda: workspace.store,
        lambda: workspace.recorded_store,
        lambda: workspace.backend("local"),
    ):
        with pytest.raises(UsageError, match=f"The workspace of {home} was closed") as caught:
            use()
        assert "kfgcp.Workspace.open" in caught.value.hint
    with pytest.raises(UsageError, match="was closed"):
        backend.cancel(RunRef("local", "aaaa00000001"))


# -- the default


def test_the_default_workspace_stays_while_nothing_changes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "kfgcp.toml").write_text('[env.here]\nbackend = "local"\n')
    first = Workspace.default()
    _ = first.store
    assert Workspace.default() is first

    (home / "kfgcp.toml").write_text('[env.here]\nbackend = "local"\nmax_parallel = 2\n')
    second = Workspace.default()
    assert second is not first

    monkeypatch.setenv("KFGCP_ENV", "here")
    third = Workspace.default()
    assert third.project.env().name == "here"

    third.close()
    assert Workspace.default() is not third


def test_the_default_workspace_belongs_to_the_folder_of_its_first_call(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = Workspace.default()
    monkeypatch.chdir(tmp_path)

    assert default.project.root == home
    assert Workspace.default().project.root == tmp_path


def test_a_state_folder_that_was_made_again_has_another_default(
    home: Path, make_run: MakeRun
) -> None:
    Workspace.default().store.add_run(make_run())
    shutil.rmtree(home / ".kfgcp")

    assert Workspace.default().recorded_store is None
    assert Workspace.default().store.page() == []


def test_a_store_that_could_only_be_read_is_not_current(store: Store) -> None:
    """Otherwise a notebook would refuse to record even after the disk has room again."""
    assert store.is_current
    store._db.can_write = False
    assert not store.is_current


def test_a_workspace_in_another_process_is_opened_there(home: Path) -> None:
    (home / "kfgcp.toml").write_text('[project]\nname = "churn"\n')
    with Workspace.open() as workspace:
        again = pickle.loads(pickle.dumps(workspace))  # noqa: S301 - our own bytes

    assert again.project == workspace._project
