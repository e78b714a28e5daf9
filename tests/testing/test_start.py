"""The ways to start a stand-in: in a `with`, as a fixture, by the command. Its cleaning up."""

import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from itertools import takewhile
from pathlib import Path

import pytest
import requests

from json_types import JsonDict
from kfgcp.backends.registry import load_project
from kfgcp.installation import install_hint
from kfgcp.testing import VertexStandIn, vertex
from kfgcp_command import Command
from patience import PROCESS, REQUEST, WaitFor
from stand_in_apis import VertexApi

pytest_plugins = ["pytester"]


def test_the_table_and_the_variables_lead_there(instant: VertexStandIn, home: Path) -> None:
    (home / "kfgcp.toml").write_text(instant.toml("dev"))

    by_table = load_project(environ={}).env("dev")
    (home / "kfgcp.toml").write_text('[env.stand-in]\nbackend = "local"\n')
    by_variables = load_project(environ=instant.environ).env("stand-in")

    assert tomllib.loads(instant.toml("dev"))["env"]["dev"]["api_endpoint"] == instant.api_endpoint
    for environment in (by_table, by_variables):
        assert environment.backend == "vertex"
        for key in ("project", "location", "pipeline_root", "api_endpoint"):
            assert environment.get(key) == getattr(instant, key)
        assert environment.get("auth") == "anonymous"


def test_the_storage_variable_is_set_meanwhile_and_put_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")

    with vertex(mode="instant") as env:
        assert (
            os.environ["STORAGE_EMULATOR_HOST"]
            == env.storage_endpoint
            == env.environ["STORAGE_EMULATOR_HOST"]
        )
    assert os.environ["STORAGE_EMULATOR_HOST"] == "http://127.0.0.1:1"
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    with vertex(mode="instant"):
        pass
    assert "STORAGE_EMULATOR_HOST" not in os.environ


def test_the_storage_variable_never_names_a_storage_that_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    first_stand_in = vertex(mode="instant")
    second_stand_in = vertex(mode="instant")

    first_stand_in.close()
    assert os.environ["STORAGE_EMULATOR_HOST"] == second_stand_in.storage_endpoint
    second_stand_in.close()
    assert os.environ["STORAGE_EMULATOR_HOST"] == "http://127.0.0.1:1"
    second_stand_in.close()
    assert os.environ["STORAGE_EMULATOR_HOST"] == "http://127.0.0.1:1"


def test_two_stand_ins_know_nothing_of_each_other(quick: VertexApi) -> None:
    with vertex(mode="instant", project="other-project", location="us-central1") as other:
        other.seed(3)

        assert quick.env.jobs() == []
        url = f"{other.api_endpoint}/v1/projects/other-project/locations/us-central1/pipelineJobs"
        assert len(requests.get(url, timeout=REQUEST).json()["pipelineJobs"]) == 3


def test_nobody_answers_any_more_after_the_end() -> None:
    with vertex(mode="instant") as env:
        urls = (env.api_endpoint, env.storage_endpoint)
        for url in urls:
            requests.get(url, timeout=REQUEST)

    for url in urls:
        with pytest.raises(requests.exceptions.ConnectionError):
            requests.get(url, timeout=REQUEST)


@pytest.mark.parametrize("name", ["google.cloud.aiplatform_v1", "gcp_storage_emulator"])
def test_a_missing_package_says_which_extra(
    name: str, environment: Callable[..., dict[str, str]], home: Path
) -> None:
    code = f"""
import sys
sys.modules[{name!r}] = None
import kfgcp.testing
from kfgcp.errors import MissingExtra
try:
    kfgcp.testing.vertex()
except MissingExtra as error:
    print(error.extra, error.hint)
"""
    process = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=PROCESS,
    )

    assert process.stdout.strip() == f"testing {install_hint('testing')}", process.stderr


def test_the_fixture_fails_a_test_that_met_no_scripted_fault(pytester: pytest.Pytester) -> None:
    pytester.makeconftest('pytest_plugins = ["kfgcp.testing"]')
    pytester.makepyfile(
        """
        import requests

        def test_met(vertex_stand_in):
            vertex_stand_in.fail_next("503")
            assert requests.get(vertex_stand_in.api_endpoint).status_code == 503

        def test_not_met(vertex_stand_in):
            vertex_stand_in.fail_next("503")
        """
    )

    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:xdist")

    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*these faults of fail_next did not happen: 503*"])


def test_other_test_suites_do_not_load_the_plug_in(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_nothing_of_kfgcp_is_loaded():
            assert not [name for name in sys.modules if name.split(".")[0] == "kfgcp"]

        def test_the_fixture_is_unknown(vertex_stand_in):
            pass
        """
    )

    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:xdist")

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*fixture 'vertex_stand_in' not found*"])


def _table(lines: Iterator[str]) -> dict[str, str]:
    """Return the environment that the command writes first, up to an empty line."""
    table: dict[str, str] = tomllib.loads("".join(takewhile(str.strip, lines)))["env"]["stand-in"]
    return table


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_stopped(
    kfgcp: Command,
    number: int,
    body_of: Callable[..., JsonDict],
    tmp_path: Path,
    eventually: WaitFor,
    alive: Callable[[int], bool],
) -> None:
    process = kfgcp.start("testing", "vertex")
    lines = iter(process.stdout.readline, "")
    table = _table(lines)
    assert next(lines).strip() == "# shell"
    for variable in ("AIPLATFORM_EMULATOR_HOST", "STORAGE_EMULATOR_HOST"):
        assert re.fullmatch(rf"export {variable}=http://127\.0\.0\.1:\d+\n", next(lines))
    place = f"projects/{table['project']}/locations/{table['location']}"
    url = f"{table['api_endpoint']}/v1/{place}/pipelineJobs"
    pids = tmp_path / "pids"
    body = body_of("sleeps", {"seconds": 600, "pids": str(pids)})
    assert requests.post(f"{url}?pipelineJobId=long", json=body, timeout=REQUEST).status_code == 200
    eventually(pids.exists)
    numbers = [int(text) for text in pids.read_text().split()]

    process.send_signal(number)
    result = kfgcp.end(process)

    assert result.code == 0, result.err
    assert eventually(lambda: not any(map(alive, numbers)))
    (line,) = [line for line in result.err.splitlines() if "POST" in line]
    assert re.fullmatch(r"\d\d:\d\d:\d\d POST /v1/\S+/pipelineJobs 200 \d+ ms", line)


def test_the_command_makes_results_up_slowly_when_asked(
    kfgcp: Command, body_of: Callable[..., JsonDict]
) -> None:
    process = kfgcp.start("testing", "vertex", "--instant", "--latency", "0.2")
    lines = iter(process.stdout.readline, "")
    table = _table(lines)
    place = f"projects/{table['project']}/locations/{table['location']}"
    url = f"{table['api_endpoint']}/v1/{place}/pipelineJobs"

    answer = requests.post(
        f"{url}?pipelineJobId=now", json=body_of("sleeps", {"seconds": 600}), timeout=REQUEST
    )

    assert answer.json()["state"] == "PIPELINE_STATE_SUCCEEDED"
    assert answer.elapsed.total_seconds() >= 0.2
    process.send_signal(signal.SIGTERM)
    kfgcp.end(process)


def test_a_taken_port_is_an_error_of_one_line(kfgcp: Command, instant: VertexStandIn) -> None:
    port = instant.api_endpoint.rpartition(":")[2]

    result = kfgcp("testing", "vertex", "--port", port)

    assert result.code == 2
    assert result.err.startswith(f"error: Port {port} of this machine cannot be used: ")
