"""A backend of another distribution that brings rules of its own, and pipelines that trigger them.

Its rules look at the names of tasks, so that a test says in a name which rule it wants.
"""

from __future__ import annotations

import json
from pathlib import Path

MODULE = '''
import sys
from dataclasses import dataclass

from kfgcp.backends.plugin import BackendPlugin
from kfgcp.rules.findings import NotJudged, Severity
from kfgcp.rules.rule import pipeline_rule, rules_of, task_rule
from kfgcp.settings import BackendSettings


@dataclass(frozen=True, kw_only=True)
class RuledSettings(BackendSettings):
    folder: str = "x"


@task_rule("T101", Severity.ERROR, "{task} cannot run on {env}", hint="Give it another name.",
           methods=("set_retry",))
def never(context, target):
    """Made up for tests."""
    return context.task.key.startswith("never")


@task_rule("T201", Severity.WARNING, "{task} is slow on {version}", since=(2, 0))
def slow(context, target):
    """Made up for tests."""
    return context.task.key.startswith("slow")


@task_rule("T301", Severity.WARNING, "{task} is sunny")
def weather(context, target):
    """Made up for tests."""
    if context.task.key.startswith("maybe"):
        return NotJudged("{task} depends on the weather")
    return False


@pipeline_rule("T401", Severity.NOTE, "the pipeline has {rows} rows")
def rows(context, target):
    """Made up for tests."""
    return {"rows": str(context.params["rows"])} if "rows" in context.params else False


@task_rule("T901", Severity.NOTE, "{task} is never judged")
def crash(context, target):
    """Made up for tests."""
    return 1 / 0 if context.task.key == "crash" else False


class Ruled:
    pace = None

    def __init__(self, project):
        self.project = project

    def notes(self, request):
        return ["the backend was asked for notes"]

    def request_body(self, request):
        return {"args": dict(request.params), "index": "https://bob:secret@index.acme.example/"}

    def submit(self, request):
        raise AssertionError("nothing may be sent")

    def get(self, ref): ...
    def list(self, run_filter, page=None, size=100): ...
    def cancel(self, ref): ...


def seen_version(env, records):
    file = env.get("folder")
    names = records.names(file, "version")
    return tuple(int(part) for part in names["seen"].split(".")) if names else None


BACKEND = BackendPlugin(
    settings=RuledSettings,
    open=lambda project, env, store: Ruled(project),
    rules=lambda: rules_of(sys.modules[__name__]),
    versions=((1, 0), (2, 0), (2, 1)),
    seen_version=seen_version,
)
'''

TOML = """
[env.ruled]
backend = "ruled"
"""


def install(folder: Path) -> dict[str, str]:
    """Write the distribution into a folder, and return the variables with which Python finds it."""
    metadata = folder / "kfgcp_ruled-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / "kfgcp_ruled.py").write_text(MODULE)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: kfgcp-ruled\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[kfgcp.backends]\nruled = kfgcp_ruled:BACKEND\n")
    return {"PYTHONPATH": str(folder)}


def write_pipeline(
    file: Path, *tasks: str, params: dict[str, object] | None = None, image: str = ""
) -> Path:
    """Write a compiled pipeline with tasks of these names, which run in containers."""
    image = image or f"python:3.12@sha256:{'0' * 64}"
    definitions = {
        name: {"parameterType": "NUMBER_INTEGER", "defaultValue": value, "isOptional": True}
        for name, value in (params or {}).items()
    }
    spec = {
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.14.0",
        "pipelineInfo": {"name": "made-up"},
        "root": {
            "inputDefinitions": {"parameters": definitions},
            "dag": {
                "tasks": {
                    task: {"componentRef": {"name": "comp-say"}, "taskInfo": {"name": task}}
                    for task in tasks
                }
            },
        },
        "components": {"comp-say": {"executorLabel": "exec-say"}},
        "deploymentSpec": {
            "executors": {"exec-say": {"container": {"image": image, "command": ["echo"]}}}
        },
    }
    file.write_text(json.dumps(spec, indent=1))
    return file
