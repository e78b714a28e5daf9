"""What submitting to Vertex AI costs: whole processes, `kfgcp run --detach` beside Google's client.

    .venv/bin/python benchmarks/submit.py [--rounds N] [--latency S]

Both talk to a stand-in on this machine that makes each request wait, over plain HTTP. Google's client is spared the
question for the project's number, which it asks a service that there is no stand-in of. Every round runs each once;
bytecode is cached, and the first round is not counted.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from startup import PIPELINE, machine, measure, once

import kfgcp.testing

OFFICIAL = """
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
    display_name="one-task", template_path="one-task.yaml", pipeline_root="{root}", parameter_values={{"a": 1}}
).submit()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="rounds that are counted (default: 9)")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds that a request waits (default: 0.05)")
    arguments = parser.parse_args()
    kfgcp_ = str(Path(sys.executable).with_name("kfgcp"))
    with (
        tempfile.TemporaryDirectory(prefix="kfgcp-bench-") as folder,
        kfgcp.testing.vertex(mode="instant") as env,
    ):
        env.latency = arguments.latency
        Path(folder, "kfgcp.toml").write_text(env.toml("dev"), encoding="utf-8")
        Path(folder, "one_task.py").write_text(PIPELINE, encoding="utf-8")
        once([kfgcp_, "compile", "one_task.py", "-o", "one-task.yaml"], folder)
        official = OFFICIAL.format(
            number=env.project_number,
            project=env.project,
            location=env.location,
            endpoint=env.api_endpoint,
            root=env.pipeline_root,
        )
        commands = {
            "bare Python": [sys.executable, "-c", "pass"],
            "`kfgcp run one-task.yaml --env dev --detach`": [
                *(kfgcp_, "run", "one-task.yaml", "-p", "a=1", "--env", "dev", "--detach"),
            ],
            "`aiplatform.PipelineJob(...).submit()`": [sys.executable, "-c", official],
            "`import google.cloud.aiplatform`": [sys.executable, "-c", "import google.cloud.aiplatform"],
        }
        requests = dict.fromkeys(commands, 0)

        def count(name: str) -> None:
            requests[name] = len(env.requests) - sum(asked)
            asked.append(requests[name])

        asked: list[int] = []
        seconds = measure(commands, folder, arguments.rounds, count)
        made = len(env.jobs())
    assert made == 2 * (arguments.rounds + 1), f"{made} jobs were made"
    print(f"{machine()}, {arguments.latency * 1000:g} ms a request, median of {arguments.rounds} rounds\n")
    print("| whole process | median | from | to | requests | times kfgcp |")
    print("| --- | --- | --- | --- | --- | --- |")
    ours = statistics.median(seconds[list(commands)[1]])
    for name, found in seconds.items():
        median = statistics.median(found)
        numbers = " | ".join(f"{value:.2f} s" for value in (median, min(found), max(found)))
        print(f"| {name} | {numbers} | {requests[name]} | {median / ours:.1f} |")


if __name__ == "__main__":
    main()
