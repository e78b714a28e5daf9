"""Measure a plan of 50 pipelines and 100 schedules beside the official clients.

    .venv/bin/python benchmarks/plan.py [--backend vertex|kubeflow] [--rounds N] [--latency S]

The pipelines and schedules were applied before, so the plan has no changes. kfgcp and the official
client send their requests to the same stand-in, which is a process of its own on this machine, and
delays each answer. The official client does the same reads, one after the other, as its examples
do: all schedules, and the versions of each pipeline. The times of kfgcp are of `kfgcp.plan` in one
process, without the import of kfp and without compiling, because the pipelines are compiled files.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from startup import machine

import kfgcp.testing
from kfgcp.workspace import Workspace

PIPELINE = """
pipelineInfo: {{name: {name}}}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
root:
  dag: {{tasks: {{say: {{componentRef: {{name: comp-say}}, taskInfo: {{name: say}}}}}}}}
  inputDefinitions:
    parameters: {{lr: {{parameterType: NUMBER_DOUBLE, defaultValue: 0.1, isOptional: true}}}}
components: {{comp-say: {{executorLabel: exec-say}}}}
deploymentSpec:
  executors: {{exec-say: {{container: {{image: 'python:3.12', command: [echo, hello]}}}}}}
"""
# The attributes of a stand-in that the clients need.
ATTRIBUTES = (
    "api_endpoint",
    "host",
    "location",
    "pipeline_registry",
    "project",
    "project_number",
)


class StandInProcess:
    """A stand-in in a process of its own, so that its work is not that of the client.

    Use it in a `with` block.

    Args:
        backend: `vertex` or `kubeflow`.
    """

    def __init__(self, backend: str) -> None:
        command = [sys.executable, __file__, "--serve", backend]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        info = self._read()
        if not isinstance(info, dict):
            raise SystemExit("the stand-in did not describe itself")
        self._info: dict[str, object] = info
        self.toml = str(info["toml"])
        os.environ.update(info["variables"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def __getitem__(self, name: str) -> str:
        """Return one of ATTRIBUTES."""
        return str(self._info[name])

    def delay(self, seconds: float) -> None:
        """Delay each answer from now on."""
        self._ask(f"delay {seconds}")

    def methods(self) -> list[str]:
        """Return the methods of the requests since the last call."""
        methods = self._ask("methods")
        return [str(method) for method in methods] if isinstance(methods, list) else []

    def _ask(self, text: str) -> object:
        print(text, file=self._process.stdin, flush=True)
        return self._read()

    def _read(self) -> object:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise SystemExit("the stand-in has ended")
        answer: object = json.loads(line)
        return answer


def serve(backend: str) -> None:
    """Serve a stand-in, and answer to the lines of the standard input, until it ends."""
    before = dict(os.environ)
    stand_in = kfgcp.testing.vertex if backend == "vertex" else kfgcp.testing.kubeflow
    with stand_in(mode="instant") as env:
        attributes = {name: getattr(env, name) for name in ATTRIBUTES if hasattr(env, name)}
        variables = {name: value for name, value in os.environ.items() if before.get(name) != value}
        answer: object = {"toml": env.toml("dev"), "variables": variables, **attributes}
        print(json.dumps(answer), flush=True)
        count = 0
        for line in sys.stdin:
            if line.startswith("delay "):
                env.latency = float(line.split()[1])
                answer = None
            else:
                answer = [request.method for request in env.requests.select(since=count)]
                count = len(env.requests)
            print(json.dumps(answer), flush=True)


def write_project(folder: Path, toml: str, pipelines: int, schedules: int) -> None:
    """Write a project with pipelines and schedules for the environment `dev`."""
    tables = ['[project]\nname = "plan"\n', toml]
    for number in range(pipelines):
        name = f"p{number}"
        (folder / f"{name}.yaml").write_text(PIPELINE.format(name=name), encoding="utf-8")
        tables.append(f'[pipeline.{name}]\nsource = "{name}.yaml"\nenvs = ["dev"]\n')
    for number in range(schedules):
        name = f"p{number % pipelines}"
        tables.append(f'[schedule.s{number}]\npipeline = "{name}"\nenv = "dev"')
        tables.append(f'cron = "{number % 60} 6 * * *"\n')
    (folder / "kfgcp.toml").write_text("\n".join(tables), encoding="utf-8")


def read_with_google(env: StandInProcess, pipelines: int) -> Callable[[], None]:
    """Return a function that does the reads of a plan with the clients of Google and KFP."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform
    from google.cloud.aiplatform.utils import resource_manager_utils
    from kfp.registry import RegistryClient

    resource_manager_utils.get_project_number = lambda *_, **__: env["project_number"]
    aiplatform.init(
        project=env["project"],
        location=env["location"],
        api_endpoint=env["api_endpoint"],
        api_transport="rest",
        credentials=AnonymousCredentials(),
    )
    client = RegistryClient(host=env["pipeline_registry"], auth=lambda request: request)
    client._config["list_versions_url"] = client._config["list_versions_url"].replace(
        "https://artifactregistry.googleapis.com", env["api_endpoint"]
    )

    def read() -> None:
        aiplatform.PipelineJobSchedule.list()
        for number in range(pipelines):
            client.list_versions(f"p{number}")

    return read


def read_with_kfp(env: StandInProcess, pipelines: int) -> Callable[[], None]:
    """Return a function that does the reads of a plan with the client of KFP."""
    import kfp

    client = kfp.Client(host=env["host"], existing_token="any")  # noqa: S106

    def read() -> None:
        client.list_recurring_runs(page_size=100)
        answer = client.list_pipelines(page_size=100)
        ids = [pipeline.pipeline_id for pipeline in answer.pipelines]
        for pipeline_id in ids[:pipelines]:
            client.list_pipeline_versions(pipeline_id, page_size=100)

    return read


def seconds_of(function: Callable[[], object], rounds: int) -> list[float]:
    """Return the seconds of each round. The first round does not count."""
    times = []
    for number in range(rounds + 1):
        start = time.perf_counter()
        function()
        if number:
            times.append(time.perf_counter() - start)
    return times


def measure(backend: str, arguments: argparse.Namespace) -> None:
    """Measure both clients, and print a table."""
    with StandInProcess(backend) as env, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chdir(folder)
        write_project(folder, env.toml, arguments.pipelines, arguments.schedules)
        with Workspace(folder) as workspace:
            workspace.apply(env="dev")
        env.delay(arguments.latency)
        env.methods()
        with Workspace(folder) as workspace:
            plan = workspace.plan(env="dev")
        our_methods = env.methods()
        assert plan.changes == (), plan.changes
        assert set(our_methods) == {"GET"}, our_methods

        def make_plan() -> None:
            with Workspace(folder) as workspace:
                workspace.plan(env="dev")

        ours = seconds_of(make_plan, arguments.rounds)
        read = read_with_google if backend == "vertex" else read_with_kfp
        official = read(env, arguments.pipelines)
        env.methods()
        official()
        their_methods = env.methods()
        theirs = seconds_of(official, arguments.rounds)
        os.chdir("/")
    print(f"\n| {backend} | median | from | to | requests |\n| --- | --- | --- | --- | --- |")
    rows = (("`kfgcp.plan`", ours, len(our_methods)), ("official", theirs, len(their_methods)))
    for label, times, requests in rows:
        numbers = (statistics.median(times), min(times), max(times))
        cells = " | ".join(f"{value:.2f} s" for value in numbers)
        print(f"| {label} | {cells} | {requests} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--backend", choices=("vertex", "kubeflow"), action="append", help="only this one"
    )
    parser.add_argument("--pipelines", type=int, default=50)
    parser.add_argument("--schedules", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count (default: 5)")
    parser.add_argument(
        "--latency", type=float, default=0.05, help="seconds that a request waits (default: 0.05)"
    )
    parser.add_argument("--serve", choices=("vertex", "kubeflow"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return
    print(
        f"{machine()}, {arguments.pipelines} pipelines, {arguments.schedules} schedules,"
        f" {arguments.latency * 1000:g} ms a request, {arguments.rounds} rounds"
    )
    for backend in arguments.backend or ("vertex", "kubeflow"):
        measure(backend, arguments)


if __name__ == "__main__":
    main()
