"""The guide to Kubeflow Pipelines: what it prints is what is printed, and its commands work as they
are, against a stand-in: at its own address, and behind a kubectl that forwards to it."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from kfgcp.testing import KubeflowStandIn, kubeflow
from kfgcp_command import Command
from patience import PROCESS
from shells import Shell, Terminal

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guides" / "gke.md").read_text(encoding="utf-8")
KUBECTL = ROOT / "tests" / "support" / "fake_kubectl.py"
BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
VARIES = (
    (r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", r"[0-9a-f-]{36}"),
    (r"\b[0-9a-f]{12}\b", r"[0-9a-f]{12}"),
    (r"\d+\.\d\d s", r"\d+\.\d\d s"),
    (r"127\.0\.0\.1:\d+", r"127\.0\.0\.1:\d+"),
    (r" +", r" +"),
    (r"…", r".*"),
)
"""Patterns of text that differs between runs: ids, durations, ports, the width of columns.

The second pattern matches the other run. The guide writes … for omitted text.
"""
Parts = Callable[[str, str], list[str]]
Section = Callable[[str, str], str]


def _pattern(shown: str) -> str:
    """Return the pattern that matches the output that a guide shows."""
    variable_text = "|".join(in_guide for in_guide, _ in VARIES)
    parts = re.split(f"({variable_text})", shown)
    return "".join(_part_pattern(part) for part in parts)


def _part_pattern(part: str) -> str:
    for in_guide, in_output in VARIES:
        if re.fullmatch(in_guide, part):
            return in_output
    return re.escape(part)


def _assert_shown(output: str, lines: list[str]) -> None:
    """Assert that the output has all the lines in their order."""
    position = 0
    for line in lines:
        match = re.compile(f"^{_pattern(line)} *$", re.MULTILINE).search(output, position)
        assert match, f"the line {line!r} is missing or in another order in:\n{output}"
        position = match.end()


@pytest.mark.parametrize(
    ("shown", "output", "same"),
    [
        ("run  0123456789ab  0.06 s", "run  ba9876543210   11.20 s", True),
        ("✓ config  …/kfgcp.toml, …", "✓ config   /a/b/kfgcp.toml, c", True),
        ("Output  0.333333", "Output  0.333334", False),
        ("a.b", "axb", False),
    ],
)
def test_output_is_compared_but_for_what_varies(shown: str, output: str, same: bool) -> None:
    assert bool(re.fullmatch(_pattern(shown), output)) is same


@pytest.fixture
def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def test_the_documented_way_without_a_cluster_works(
    command: Command, terminal: Terminal, section: Section, free_port: str
) -> None:
    (_, install), (_, start), (_, init), *rest = BLOCK.findall(
        section(GUIDE, "## Without a cluster")
    )
    assert install == ".venv/bin/pip install 'kfgcp[testing]'\n"
    first, *introduced = start.replace("8080", free_port).splitlines()
    *printed, hint = introduced
    stand_in = command.start(*first.removeprefix("$ kfgcp ").split())
    printed_lines = [stand_in.stdout.readline().rstrip("\n") for _ in printed]
    _assert_shown("\n".join(printed_lines), printed)
    assert stand_in.stderr.readline().rstrip("\n") == hint
    assert terminal(init.strip()).returncode == 0
    settings = printed_lines[
        printed_lines.index("[env.stand-in]") : printed_lines.index('auth = "anonymous"') + 1
    ]
    with (terminal.folder / "kfgcp.toml").open("a") as file:
        file.write("\n".join(settings) + "\n")

    output_by_command: dict[str, str] = {}
    for language, block in rest:
        line, *lines = block.splitlines()
        for command_line in [line.removeprefix("$ ")] if language == "text" else [line, *lines]:
            if command_line not in output_by_command:
                result = terminal(command_line)
                assert result.returncode == 0, f"{command_line}\n{result.stdout}"
                output_by_command[command_line] = result.stdout
        if language == "text":
            _assert_shown(output_by_command[line.removeprefix("$ ")], lines)

    assert "gs://stand-in-project-pipelines/runs" in output_by_command["kfgcp show there"]
    assert "9 words\n" in output_by_command["kfgcp logs there make-words"]
    assert "SUCCEEDED" in output_by_command["kfgcp cancel"]
    assert re.search(r"make-words +CACHED", output_by_command["kfgcp rerun there --from measure"])
    assert re.search(r"measure +SUCCEEDED", output_by_command["kfgcp rerun there --from measure"])


@pytest.fixture
def programs(tmp_path: Path, shell_environment: dict[str, str]) -> Path:
    """A folder that comes first on the PATH of shells."""
    folder = tmp_path / "bin"
    folder.mkdir()
    shell_environment["PATH"] = f"{folder}{os.pathsep}{shell_environment['PATH']}"
    return folder


def _program(file: Path, script: str) -> None:
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


@pytest.fixture
def cluster(programs: Path, shell_environment: dict[str, str]) -> Iterator[KubeflowStandIn]:
    """Return a Kubeflow Pipelines behind a port of kubectl, with the bucket of the guide."""
    with kubeflow(host_names=["127.0.0.1"]) as env:
        env.make_bucket("my-project-kfp")
        _program(programs / "kubectl", f'exec "{sys.executable}" "{KUBECTL}" "$@"')
        shell_environment |= {
            "FAKE_LOG": str(programs / "log"),
            "FAKE_TARGET": env.host.rpartition(":")[2],
        }
        yield env


def test_the_commands_for_a_cluster_run_as_they_are_through_kubectl(
    cluster: KubeflowStandIn, programs: Path, shell: Shell, section: Section, blocks: Parts
) -> None:
    assert shell("kfgcp init .").returncode == 0
    (settings,) = blocks(section(GUIDE, "#### By kubectl"), "toml")
    with (shell.folder / "kfgcp.toml").open("a") as file:
        file.write(settings)

    output_by_line: dict[str, str] = {}
    for heading in ("### A first run", "## Logs", "## Cancel, delete, run again"):
        for line in "".join(blocks(section(GUIDE, heading), "sh")).splitlines():
            result = shell(line)
            assert result.returncode == 0, f"{line}\n{result.stdout}{result.stderr}"
            output_by_line[line.partition("  #")[0].strip()] = result.stdout + result.stderr

    assert "metadata         ML Metadata answers" in output_by_line["kfgcp doctor --env gke"]
    assert "gs://my-project-kfp/runs/" in output_by_line["kfgcp show"]
    assert "9 words\n" in output_by_line["kfgcp logs latest --follow"]
    assert re.search(
        r"environment +local +gke|environment +gke +local", output_by_line["kfgcp compare"]
    )
    assert "measure  SUCCEEDED" in output_by_line["kfgcp rerun latest --from measure"]
    assert (
        "make-words  SUCCEEDED"
        in output_by_line["kfgcp run pipelines/long_words.py --env gke --no-cache"]
    )
    assert "deleted" in output_by_line["kfgcp delete latest --yes"]
    arguments = [
        "--context",
        "gke_my-project_europe-west4_my-cluster",
        "port-forward",
        "-n",
        "kubeflow",
    ]
    assert (programs / "log").read_text().splitlines()[0].split()[1:7] == [
        *arguments,
        "svc/ml-pipeline-ui",
    ]


def test_the_commands_that_give_permissions_say_what_their_table_says(
    programs: Path, shell: Shell, section: Section, blocks: Parts
) -> None:
    """The commands grant each role of the table, and bind the identity of pods as GKE requires."""
    log = programs / "log"
    for name in ("gcloud", "kubectl"):
        _program(programs / name, f'echo "{name} $*" >> "{log}"')
    (script,) = blocks(section(GUIDE, "### The bucket"), "sh")

    subprocess.run(["sh", "-eu", "-c", script], env=shell.environment, check=True, timeout=PROCESS)

    called = log.read_text().splitlines()
    runner = "kfp-runner@my-project.iam.gserviceaccount.com"
    bucket = "gcloud storage buckets add-iam-policy-binding gs://my-project-kfp"
    for call in (
        f"{bucket} --member serviceAccount:{runner} --role roles/storage.objectUser",
        f"{bucket} --member user:me@example.com --role roles/storage.objectUser",
        (
            f"gcloud iam service-accounts add-iam-policy-binding {runner} --project my-project"
            " --member serviceAccount:my-project.svc.id.goog[kubeflow/pipeline-runner] --role"
            " roles/iam.workloadIdentityUser"
        ),
        (
            "kubectl annotate serviceaccount pipeline-runner --namespace kubeflow"
            f" iam.gke.io/gcp-service-account={runner}"
        ),
        (
            "gcloud projects add-iam-policy-binding my-project --member user:me@example.com --role"
            " roles/logging.viewer"
        ),
    ):
        assert call in called, called
    granted_roles = {role for line in called for role in re.findall(r"roles/[\w.]+", line)}
    roles_in_guide = set(
        re.findall(r"^\|[^|]*\| `(roles/[\w.]+)`", section(GUIDE, "### The bucket"), re.MULTILINE)
    )
    assert roles_in_guide - granted_roles == {
        "roles/container.defaultNodeServiceAccount",
        "roles/artifactregistry.reader",
    }
    assert granted_roles <= roles_in_guide


def test_the_role_for_port_forwarding_has_what_its_table_has(
    section: Section, blocks: Parts
) -> None:
    part = section(GUIDE, "#### By kubectl")
    (manifest,) = blocks(part, "yaml")
    role, binding = yaml.safe_load_all(manifest)
    rows = re.findall(
        r"^\| you \| `([a-z/]+)`: (.*?) \| namespace `kubeflow` \|", part, re.MULTILINE
    )

    assert {(rule["resources"][0], *rule["verbs"]) for rule in role["rules"]} == {
        (resource, *re.findall(r"`(\w+)`", verbs)) for resource, verbs in rows
    }
    assert len(rows) == 3
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert role["metadata"] == binding["metadata"]
