"""What submitting costs: whole processes, `kfgcp run --detach` beside the official clients.

    .venv/bin/python benchmarks/submit.py [--backend vertex|kubeflow] [--rounds N] [--latency S]

Each backend has a stand-in on this machine that makes each request wait, over plain HTTP, and that
kfgcp and the official client both talk to. Google's client is spared the question for the project's
number, which it asks a service that there is no stand-in of. Every round runs each once; bytecode
is cached, and the first round is not counted.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines import ONE_TASK
from startup import machine, measure, once

import kfgcp.testing

GOOGLE = """
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform
from google.cloud.aiplatform.utils import resource_manager_utils

resource_manager_utils.get_project_number = lambda *_, **__: "{number}"
aiplatform.init(
    project="{project}",
    location="{location}",
    api_endpoint="{endpoint}",
    api_transport="rest",
    credentials=AnonymousCredentials(),
)
aiplatform.PipelineJob(
    display_name="one-task",
    template_path="one-task.yaml",
    pipeline_root="{root}",
    parameter_values={{"a": 1}},
).submit()
"""
KFP = """
import kfp

kfp.Client(host="{host}", existing_token="any").create_run_from_pipeline_package(
    "one-task.yaml",
    arguments={{"a": 1}},
    run_name="one-task",
    experiment_name="default",
    pipeline_root="{root}",
)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--backend", choices=("vertex", "kubeflow"), action="append", help="only this one"
    )
    parser.add_argument(
        "--rounds", type=int, default=9, help="rounds that are counted (default: 9)"
    )
    parser.add_argument(
        "--latency", type=float, default=0.05, help="seconds that a request waits (default: 0.05)"
    )
    arguments = parser.parse_args()
    print(
        f"{machine()}, {arguments.latency * 1000:g} ms a request, median of {arguments.rounds}"
        " rounds"
    )
    for backend in arguments.backend or ("vertex", "kubeflow"):
        {"vertex": to_vertex, "kubeflow": to_kubeflow}[backend](arguments.rounds, arguments.latency)


def to_vertex(rounds: int, latency: float) -> None:
    with kfgcp.testing.vertex(mode="instant") as env:
        official = GOOGLE.format(
            number=env.project_number,
            project=env.project,
            location=env.location,
            endpoint=env.api_endpoint,
            root=env.pipeline_root,
        )
        rows = {
            "`aiplatform.PipelineJob(...).submit()`": official,
            "`import google.cloud.aiplatform`": "import google.cloud.aiplatform",
        }
        compare("vertex", env, rows, rounds, latency)
        check(len(env.jobs()), rounds)


def to_kubeflow(rounds: int, latency: float) -> None:
    with kfgcp.testing.kubeflow(mode="instant") as env:
        official = KFP.format(host=env.host, root=env.pipeline_root)
        rows = {
            "`kfp.Client(...).create_run_from_pipeline_package(...)`": official,
            "`import kfp`": "import kfp",
        }
        compare("kubeflow", env, rows, rounds, latency)
        check(len(env.runs.all()), rounds)


def compare(
    backend: str,
    env: kfgcp.testing.KubeflowStandIn | kfgcp.testing.VertexStandIn,
    others: Mapping[str, str],
    rounds: int,
    latency: float,
) -> None:
    """Prints a table of kfgcp, which comes second, and others: what they are called -> a Python
    program."""
    ours = str(Path(sys.executable).with_name("kfgcp"))
    with tempfile.TemporaryDirectory(prefix="kfgcp-bench-") as folder:
        Path(folder, "kfgcp.toml").write_text(env.toml(backend), encoding="utf-8")
        Path(folder, "one_task.py").write_text(ONE_TASK, encoding="utf-8")
        once([ours, "compile", "one_task.py", "-o", "one-task.yaml"], folder)
        submit: list[str] = [
            ours,
            "run",
            "one-task.yaml",
            "-p",
            "a=1",
            "--env",
            backend,
            "--detach",
        ]
        commands: dict[str, Sequence[str]] = {
            "bare Python": [sys.executable, "-c", "pass"],
            f"`kfgcp run one-task.yaml --env {backend} --detach`": submit,
            **{name: [sys.executable, "-c", program] for name, program in others.items()},
        }
        env.latency = latency
        asked: list[int] = []
        requests = dict.fromkeys(commands, 0)

        def count(name: str) -> None:
            requests[name] = len(env.requests) - sum(asked)
            asked.append(requests[name])

        print_table(measure(commands, folder, rounds, count), requests)


def print_table(seconds: Mapping[str, Sequence[float]], requests: Mapping[str, int]) -> None:
    print("\n| whole process | median | from | to | requests | times kfgcp |")
    print("| --- | --- | --- | --- | --- | --- |")
    ours = statistics.median(seconds[list(seconds)[1]])
    for name, found in seconds.items():
        median = statistics.median(found)
        numbers = " | ".join(f"{value:.2f} s" for value in (median, min(found), max(found)))
        print(f"| {name} | {numbers} | {requests[name]} | {median / ours:.1f} |")


def check(made: int, rounds: int) -> None:
    """Both have made a run in each round, and in the one that is not counted."""
    assert made == 2 * (rounds + 1), f"{made} runs were made"


if __name__ == "__main__":
    main()
