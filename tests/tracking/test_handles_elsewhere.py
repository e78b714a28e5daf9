"""Handles work in any folder and thread, and workspaces of one program do not disturb each
other."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import kfgcp
from kfgcp.store.store import Store
from patience import PROCESS, REQUEST

MakePipeline = Callable[[str], Path]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """Makes another folder the current one."""

    def go() -> Path:
        folder = tmp_path / "elsewhere"
        folder.mkdir()
        monkeypatch.chdir(folder)
        return folder

    return go


def test_a_handle_works_after_the_current_folder_has_changed(
    home: Path, pipeline: MakePipeline, elsewhere: Callable[[], Path]
) -> None:
    """Before, each of these said "There is no run", and an empty .kfgcp appeared in the new
    folder."""
    run = kfgcp.run(str(pipeline("echo")), timeout=PROCESS)
    folder = elsewhere()

    assert kfgcp.show(run).state == "SUCCEEDED"
    assert [update.run.state for update in kfgcp.watch(run)][-1] == "SUCCEEDED"
    assert kfgcp.tag(run, "good") == ("good",)
    assert kfgcp.note(run, "far away") == "far away"
    assert [line.text for line in kfgcp.logs(run)] == [line.text for line in run.logs()]
    assert kfgcp.Workspace.default().spec_of(run).version == run.snapshot.version
    assert kfgcp.diff(run, str(pipeline("echo"))).changes == ()
    again = kfgcp.rerun(run, timeout=PROCESS)
    assert kfgcp.compare([run, again]).runs[0].run_id == run.run_id
    assert kfgcp.export([run]).splitlines()[1].startswith(run.run_id)
    assert kfgcp.cancel(again).state == "SUCCEEDED"
    assert kfgcp.delete(again).used_by == ()
    assert list(folder.iterdir()) == []
    with Store(home / ".kfgcp") as store:
        assert [(kept.run_id, kept.tags, kept.note) for kept in store.page()] == [
            (run.run_id, ("good",), "far away")
        ]


def test_a_handle_works_in_another_thread(home: Path, pipeline: MakePipeline) -> None:
    run = kfgcp.run(str(pipeline("echo")), timeout=PROCESS)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: run.refresh().state).result(REQUEST) == "SUCCEEDED"
        assert pool.submit(lambda: run.backend).result(REQUEST) is not run.backend


def test_a_handle_of_a_closed_workspace_is_one_clear_error(
    home: Path, pipeline: MakePipeline
) -> None:
    with kfgcp.Workspace.open() as workspace:
        run = workspace.run(str(pipeline("echo")), timeout=PROCESS)

    uses: list[Callable[[], object]] = [
        run.refresh,
        run.wait,
        run.cancel,
        run.delete,
        lambda: list(run.logs()),
        lambda: workspace.show(run),
        lambda: list(workspace.watch(run)),
        lambda: workspace.tag(run, "good"),
    ]
    for use in uses:
        with pytest.raises(kfgcp.UsageError, match=f"The workspace of {home} was closed"):
            use()
    assert run.state == "SUCCEEDED", "the values that were read stay"
    assert kfgcp.show(run.run_id).state == "SUCCEEDED"


def test_two_workspaces_do_not_disturb_each_other(
    tmp_path: Path, home: Path, pipeline: MakePipeline
) -> None:
    """Also in two threads at once."""
    file = str(pipeline("echo"))
    start = threading.Barrier(2)
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        (folder / "kfgcp.toml").write_text(f'[project]\nexperiment = "{folder.name}"\n')

    def work(folder: Path) -> list[kfgcp.Run]:
        with kfgcp.Workspace.open(folder) as workspace:
            start.wait(REQUEST)
            for number in range(2):
                run = workspace.run(
                    file, params={"text": f"{folder.name} {number}"}, timeout=PROCESS
                )
                workspace.tag(run, folder.name)
            return workspace.list()

    with ThreadPoolExecutor(2) as pool:
        listed = dict(zip(folders, pool.map(work, folders), strict=True))

    for folder, runs in listed.items():
        facts = [(run.experiment, run.tags, run.params["text"]) for run in runs]
        assert facts == [
            (folder.name, (folder.name,), f"{folder.name} {number}") for number in (1, 0)
        ]
        assert (folder / ".kfgcp" / "kfgcp.db").exists()
    assert not (home / ".kfgcp").exists()
