"""The guide to Kubeflow Pipelines: what it prints is what is printed, and its commands work as they
are, against a stand-in: at its own address, and behind a kubectl that forwards to it."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kfgcp.testing import kubeflow
from kfgcp_command import Command
from patience import PROCESS

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
"""What differs from run to run, and how it looks: ids, durations, ports, the width of columns; …
stands for more."""
Parts = Callable[[str, str], list[str]]
Section = Callable[[str, str], str]


def _pattern(shown: str) -> str:
    """What matches the output that a guide shows."""
    parts = re.split("(" + "|".join(what for what, _ in VARIES) + ")", shown)
    return "".join(
        next((how for what, how in VARIES if re.fullmatch(what, part)), re.escape(part))
        for part in parts
    )


def _shows(output: str, lines: list[str]) -> None:
    """Each line is in the output, after the one before it."""
    at = 0
    for line in lines:
        found = re.compile(f"^{_pattern(line)} *$", re.MULTILINE).search(output, at)
        assert found, f"{line!r} is not in, or not in its place of:\n{output}"
        at = found.end()


@pytest.mark.parametrize(
    ("shown", "said", "same"),
    [
        ("run  0123456789ab  0.06 s", "run  ba9876543210   11.20 s", True),
        ("✓ config  …/kfgcp.toml, …", "✓ config   /a/b/kfgcp.toml, c", True),
        ("Output  0.333333", "Output  0.333334", False),
        ("a.b", "axb", False),
    ],
)
def test_output_is_compared_but_for_what_varies(shown: str, said: str, same: bool) -> None:
    assert bool(re.fullmatch(_pattern(shown), said)) is same


@pytest.fixture
def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def test_the_way_without_a_cluster_is_as_it_is_told(
    command: Command, terminal: Any, section: Section, free_port: str
) -> None:
    (_, install), (_, start), (_, init), *rest = BLOCK.findall(
        section(GUIDE, "## Without a cluster")
    )
    assert install == ".venv/bin/pip install 'kfgcp[testing]'\n"
    first, *introduced = start.replace("8080", free_port).splitlines()
    *printed, hint = introduced
    stand_in = command.start(*first.removeprefix("$ kfgcp ").split())
    said = [stand_in.stdout.readline().rstrip("\n") for _ in printed]
    _shows("\n".join(said), printed)
    assert stand_in.stderr.readline().rstrip("\n") == hint
    assert terminal(init.strip()).returncode == 0
    settings = said[said.index("[env.stand-in]") : said.index('auth = "anonymous"') + 1]
    with (terminal.folder / "kfgcp.toml").open("a") as file:
        file.write("\n".join(settings) + "\n")

    said_by: dict[str, str] = {}
    for language, block in rest:
        line, *lines = block.splitlines()
        for each in [line.removeprefix("$ ")] if language == "text" else [line, *lines]:
            if each not in said_by:
                done = terminal(each)
                assert done.returncode == 0, f"{each}\n{done.stdout}"
                said_by[each] = done.stdout
        if language == "text":
            _shows(said_by[line.removeprefix("$ ")], lines)

    assert "gs://stand-in-project-pipelines/runs" in said_by["kfgcp show there"]
    assert "9 words\n" in said_by["kfgcp logs there make-words"]
    assert "SUCCEEDED" in said_by["kfgcp cancel"]
    assert re.search(r"make-words +CACHED", said_by["kfgcp rerun there --from measure"])
    assert re.search(r"measure +SUCCEEDED", said_by["kfgcp rerun there --from measure"])


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
def cluster(programs: Path, shell_environment: dict[str, str]) -> Iterator[Any]:
    """A Kubeflow Pipelines that kubectl forwards a port to, with the bucket of the guide."""
    with kubeflow(host_names=["127.0.0.1"]) as env:
        env.make_bucket("my-project-kfp")
        _program(programs / "kubectl", f'exec "{sys.executable}" "{KUBECTL}" "$@"')
        shell_environment |= {
            "FAKE_LOG": str(programs / "log"),
            "FAKE_TARGET": env.host.rpartition(":")[2],
        }
        yield env


def test_the_commands_for_a_cluster_run_as_they_are_through_kubectl(
    cluster: Any, programs: Path, shell: Any, section: Section, blocks: Parts
) -> None:
    assert shell("kfgcp init .").returncode == 0
    (settings,) = blocks(section(GUIDE, "#### By kubectl"), "toml")
    with (shell.folder / "kfgcp.toml").open("a") as file:
        file.write(settings)

    said: dict[str, str] = {}
    for heading in ("### A first run", "## Logs", "## Cancel, delete, run again"):
        for line in "".join(blocks(section(GUIDE, heading), "sh")).splitlines():
            done = shell(line)
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
            said[line.partition("  #")[0].strip()] = done.stdout + done.stderr

    assert "metadata         ML Metadata answers" in said["kfgcp doctor --env gke"]
    assert "gs://my-project-kfp/runs/" in said["kfgcp show"]
    assert "9 words\n" in said["kfgcp logs latest --follow"]
    assert re.search(r"environment +local +gke|environment +gke +local", said["kfgcp compare"])
    assert "measure  SUCCEEDED" in said["kfgcp rerun latest --from measure"]
    assert "make-words  SUCCEEDED" in said["kfgcp run pipelines/long_words.py --env gke --no-cache"]
    assert "deleted" in said["kfgcp delete latest --yes"]
    wanted = [
        "--context",
        "gke_my-project_europe-west4_my-cluster",
        "port-forward",
        "-n",
        "kubeflow",
    ]
    assert (programs / "log").read_text().splitlines()[0].split()[1:7] == [
        *wanted,
        "svc/ml-pipeline-ui",
    ]


def test_the_commands_that_give_permissions_say_what_their_table_says(
    programs: Path, shell: Any, section: Section, blocks: Parts
) -> None:
    """Each role is given where the table has it; the identity of pods is joined as GKE wants it."""
    log = programs / "log"
    for name in ("gcloud", "kubectl"):
        _program(programs / name, f'echo "{name} $*" >> "{log}"')
    (script,) = blocks(section(GUIDE, "### The bucket"), "sh")

    subprocess.run(["sh", "-eu", "-c", script], env=shell.environment, check=True, timeout=PROCESS)

    called = log.read_text().splitlines()
    runner = "kfp-runner@my-project.iam.gserviceaccount.com"
    bucket = "gcloud storage buckets add-iam-policy-binding gs://my-project-kfp"
    for wanted in (
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
        assert wanted in called, called
    given = {role for line in called for role in re.findall(r"roles/[\w.]+", line)}
    told = set(
        re.findall(r"^\|[^|]*\| `(roles/[\w.]+)`", section(GUIDE, "### The bucket"), re.MULTILINE)
    )
    assert told - given == {
        "roles/container.defaultNodeServiceAccount",
        "roles/artifactregistry.reader",
    }
    assert given <= told


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
