"""Measure how long submitting takes: `kfgcp run --detach` beside the official clients.

    .venv/bin/python benchmarks/submit.py [--backend vertex|kubeflow] [--rounds N] [--latency S]

The times are those of whole processes. kfgcp and the official client send their requests to the
same stand-in of the backend, which runs on this machine, speaks plain HTTP and delays each answer.
Google's client would also request the number of the project from Resource Manager, which has no
stand-in. So this benchmark gives it the number. Every round runs each process once. Bytecode is
cached, and the first round does not count.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines import ONE_TASK
from startup import machine, measure, run_command

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
    parser.add_argument("--rounds", type=int, default=9, help="rounds that count (default: 9)")
    parser.add_argument(
        "--latency", type=float, default=0.05, help="seconds that a request waits (default: 0.05)"
    )
    arguments = parser.parse_args()
    print(
        f"{machine()}, {arguments.latency * 1000:g} ms a request, median of {arguments.rounds}"
        " rounds"
    )
    for backend in arguments.backend or ("vertex", "kubeflow"):
        if backend == "vertex":
            submit_to_vertex(arguments.rounds, arguments.latency)
        else:
            submit_to_kubeflow(arguments.rounds, arguments.latency)


def submit_to_vertex(rounds: int, latency: float) -> None:
    """Measure kfgcp beside the client of Vertex AI."""
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
        check_count(len(env.jobs()), rounds)


def submit_to_kubeflow(rounds: int, latency: float) -> None:
    """Measure kfgcp beside the client of Kubeflow Pipelines."""
    with kfgcp.testing.kubeflow(mode="instant") as env:
        official = KFP.format(host=env.host, root=env.pipeline_root)
        rows = {
            "`kfp.Client(...).create_run_from_pipeline_package(...)`": official,
            "`import kfp`": "import kfp",
        }
        compare("kubeflow", env, rows, rounds, latency)
        check_count(len(env.runs.all()), rounds)


def compare(
    backend: str,
    env: kfgcp.testing.KubeflowStandIn | kfgcp.testing.VertexStandIn,
    others: Mapping[str, str],
    rounds: int,
    latency: float,
) -> None:
    """Measure kfgcp beside other programs, and print a table.

    Args:
        backend: the name of the backend, and of the environment.
        env: the stand-in of the service.
        others: Python programs by name.
        rounds: the rounds that count.
        latency: seconds that a request waits.
    """
    ours = str(Path(sys.executable).with_name("kfgcp"))
    with tempfile.TemporaryDirectory(prefix="kfgcp-bench-") as folder:
        Path(folder, "kfgcp.toml").write_text(env.toml(backend), encoding="utf-8")
        Path(folder, "one_task.py").write_text(ONE_TASK, encoding="utf-8")
        run_command([ours, "compile", "one_task.py", "-o", "one-task.yaml"], folder)
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
        }
        for name, program in others.items():
            commands[name] = [sys.executable, "-c", program]
        env.latency = latency
        requests = dict.fromkeys(commands, 0)
        requests_before = 0

        def count_requests(name: str) -> None:
            nonlocal requests_before
            requests[name] = len(env.requests) - requests_before
            requests_before = len(env.requests)

        print_table(measure(commands, folder, rounds, count_requests), requests)


def print_table(seconds: Mapping[str, Sequence[float]], requests: Mapping[str, int]) -> None:
    """Print a Markdown table. The second row is kfgcp, the base of the ratios."""
    print("\n| whole process | median | from | to | requests | times kfgcp |")
    print("| --- | --- | --- | --- | --- | --- |")
    ours = statistics.median(seconds[list(seconds)[1]])
    for name, times in seconds.items():
        median = statistics.median(times)
        numbers = " | ".join(f"{value:.2f} s" for value in (median, min(times), max(times)))
        print(f"| {name} | {numbers} | {requests[name]} | {median / ours:.1f} |")


def check_count(run_count: int, rounds: int) -> None:
    """Check that both clients made a run in each round, and in the one that does not count."""
    assert run_count == 2 * (rounds + 1), f"{run_count} runs were made"


if __name__ == "__main__":
    main()
