"""`kfgcp delete`: runs that have ended, and nothing else."""

from collections.abc import Callable
from pathlib import Path

from kfgcp_command import Command
from patience import wait_for


def test_of_a_run_that_is_running_elsewhere_nothing_is_deleted(
    kfgcp: Command, home: Path, pipeline: Callable[[str], Path]
) -> None:
    ended = kfgcp("run", pipeline("chain"), "--json").json["run_id"]
    pids = home / "pids"
    elsewhere = kfgcp.start("run", pipeline("sleeps"), "-p", f"pids={pids}")
    wait_for(pids.exists)
    running = kfgcp("show", "--json").json["run_id"]

    result = kfgcp("delete", ended, running, "--yes")

    assert result.code == 2
    assert result.err.splitlines() == [
        (
            f"error: Run {running} is RUNNING. Only a run that has ended can be deleted."
            " Nothing was deleted."
        ),
        f"hint: Cancel the run first: kfgcp cancel {running}",
    ]
    assert kfgcp("show", ended).code == 0
    assert elsewhere.poll() is None
    assert (home / ".kfgcp" / "logs" / running).is_dir()

    assert kfgcp("cancel", running).code == 0
    assert kfgcp.end(elsewhere).code == 6
    assert kfgcp("delete", ended, running, "--yes").code == 0
