"""The ways to start the stand-in: in a `with`, as a fixture, by the command. Its addresses."""

import os
import re
import signal
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from json_types import JsonDict
from kfgcp.backends.registry import load_project
from kfgcp.errors import UsageError
from kfgcp.testing import KubeflowStandIn, kubeflow, vertex
from kfgcp_command import Command
from patience import REQUEST, WaitFor
from stand_in_apis import KubeflowApi

pytest_plugins = ["pytester"]


def test_the_table_and_the_variables_lead_there(instant: KubeflowStandIn, home: Path) -> None:
    (home / "kfgcp.toml").write_text(instant.toml("gke"))

    by_table = load_project(environ={}).env("gke")
    (home / "kfgcp.toml").write_text('[env.stand-in]\nbackend = "local"\n')
    by_variables = load_project(environ=instant.environ).env("stand-in")

    assert instant.host == instant.api_endpoint
    for environment in (by_table, by_variables):
        assert environment.backend == "kubeflow"
        assert environment.get("host") == instant.host
        assert environment.get("pipeline_root") == instant.pipeline_root
        assert environment.get("auth") == "anonymous"
        assert environment.get("namespace") is None


def test_in_multi_user_mode_the_table_has_a_namespace() -> None:
    with kubeflow(mode="instant", multi_user=True, namespaces=["growth"]) as env:
        assert tomllib.loads(env.toml("gke"))["env"]["gke"]["namespace"] == "growth"


def test_nothing_is_left_behind(
    spec_of: Callable[[str], JsonDict],
    api_of: type[KubeflowApi],
    tmp_path: Path,
    eventually: WaitFor,
    alive: Callable[[int], bool],
) -> None:
    pids = tmp_path / "pids"
    before = os.environ.get("STORAGE_EMULATOR_HOST")
    with kubeflow() as env:
        config = {"parameters": {"seconds": 600, "pids": str(pids)}}
        api_of(env).run(pipeline_spec=spec_of("sleeps"), runtime_config=config)
        eventually(pids.exists)
        url = env.host

    assert eventually(lambda: not any(map(alive, map(int, pids.read_text().split()))))
    assert os.environ.get("STORAGE_EMULATOR_HOST") == before
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.get(url, timeout=REQUEST)


def test_it_stands_beside_one_of_vertex(
    api_of: type[KubeflowApi], spec_of: Callable[[str], JsonDict]
) -> None:
    with vertex(mode="instant") as other, kubeflow(mode="instant") as env:
        api_of(env).run(pipeline_spec=spec_of("echo"))

        assert other.jobs() == []
        assert len(env.requests) == 1


def test_a_mode_and_a_port_that_cannot_be(instant: KubeflowStandIn) -> None:
    with pytest.raises(UsageError, match="There is no mode 'fast'"):
        kubeflow(mode="fast")
    with pytest.raises(UsageError, match="cannot be used"):
        kubeflow(port=int(instant.host.rpartition(":")[2]))


def test_the_fixture_fails_a_test_that_met_no_scripted_fault(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import requests

        def test_met(kubeflow_stand_in):
            kubeflow_stand_in.fail_next("503")
            assert requests.get(kubeflow_stand_in.host + "/apis/v2beta1/healthz").status_code == 503

        def test_not_met(kubeflow_stand_in):
            kubeflow_stand_in.fail_next("503")
        """
    )

    result = pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "kfgcp.testing"
    )

    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*these faults of fail_next did not happen: 503*"])


def test_the_command_serves_until_it_is_stopped(
    kfgcp: Command, spec_of: Callable[[str], JsonDict]
) -> None:
    process = kfgcp.start(
        "testing", "kubeflow", "--namespace", "growth", "--server-version", "2.14.3", "--instant"
    )
    lines = iter(process.stdout.readline, "")
    table = tomllib.loads("".join(line for line, _ in zip(lines, range(7), strict=False)))["env"][
        "stand-in"
    ]
    assert next(lines).strip() == "# shell"
    assert re.fullmatch(r"export STORAGE_EMULATOR_HOST=http://127\.0\.0\.1:\d+\n", next(lines))
    url = f"{table['host']}/apis/v2beta1"
    health = requests.get(f"{url}/healthz", timeout=REQUEST).json()
    experiments = requests.get(
        f"{url}/experiments", params={"namespace": table["namespace"]}, timeout=REQUEST
    ).json()
    body = {
        "display_name": "x",
        "experiment_id": experiments["experiments"][0]["experiment_id"],
        "pipeline_spec": spec_of("sleeps"),
        "runtime_config": {"parameters": {"seconds": 600}},
    }
    run = requests.post(f"{url}/runs", json=body, timeout=REQUEST).json()

    process.send_signal(signal.SIGTERM)
    result = kfgcp.end(process)

    assert (health["tag_name"], health["multi_user"], run["state"]) == ("2.14.3", True, "PENDING")
    assert result.code == 0, result.err
    assert re.search(
        r"^\d\d:\d\d:\d\d POST /apis/v2beta1/runs 200 \d+ ms$", result.err, re.MULTILINE
    )


def test_an_invalid_version_is_an_error_of_one_line(kfgcp: Command) -> None:
    result = kfgcp("testing", "kubeflow", "--server-version", "newest")

    assert result.code == 2
    assert result.err.startswith("error: 'newest' is not a version.")
