"""Running real pipelines: compiled from the KFP DSL, executed by the real engine in this
process."""

import copy
import importlib.util
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from cached_pipelines import one_task
from json_types import JsonDict
from kfgcp import Workspace, api
from kfgcp.backends.base import ForegroundRun, SupportsForeground, capability
from kfgcp.model import ErrorInfo, Run, Task, TaskState
from kfgcp.semantics.nodes import Node
from kfgcp.semantics.scheduler import Scheduler
from kfgcp.semantics.values import Values
from kfgcp.spec.graph import build
from kfgcp.spec.json_values import JsonObject
from kfgcp.spec.load import Spec, from_documents
from kfgcp.spec.params import resolve
from kfgcp.tracking.submit import prepare_repetition

BY_COMMAND = (
    os.environ.get("KFGCP_TESTS_BY_COMMAND") == "1"
)  # read before `home` clears the variables of kfgcp
_found = importlib.util.spec_from_file_location(
    "by_command", Path(__file__).with_name("by_command.py")
)
assert _found is not None
assert _found.loader is not None
by_command = importlib.util.module_from_spec(_found)
_found.loader.exec_module(by_command)


def compile_to_dict(pipeline: Any) -> JsonDict:
    """The PipelineSpec that the KFP compiler makes of a pipeline function; a dict is taken for
    one."""
    if isinstance(pipeline, Mapping):
        return copy.deepcopy(dict(pipeline))
    return json_format.MessageToDict(pipeline.pipeline_spec)


def to_spec(pipeline: Any) -> Spec:
    return (
        pipeline
        if isinstance(pipeline, Spec)
        else from_documents([compile_to_dict(pipeline)], "test")
    )


@pytest.fixture(scope="session")
def compiled() -> Callable[[Any], JsonDict]:
    """The compiled form of a pipeline, to be edited where the DSL cannot say something."""
    return compile_to_dict


@pytest.fixture
def execute(home: Path, tmp_path: Path) -> Callable[..., Run]:
    """Runs a pipeline to its end on the real engine. Options as of `kfgcp.submit`.

    In this process, which is quicker; with KFGCP_TESTS_BY_COMMAND=1 by `kfgcp run SPEC --json`.
    """

    def run(pipeline: Any, params: JsonObject | None = None, **options: Any) -> Run:
        if BY_COMMAND:
            return by_command.run(to_spec(pipeline), params or {}, tmp_path, options)
        return (
            api.submit(to_spec(pipeline), params=params, **options, in_process=True)
            .wait(check=False)
            .snapshot
        )

    return run


@pytest.fixture
def ignore_rules(home: Path) -> Callable[..., None]:
    """Let the engine get a pipeline that kfgcp refuses before the run."""

    def ignore(*rules: str) -> None:
        reasons = ", ".join(f'{rule} = "the engine is tested"' for rule in rules)
        (home / "kfgcp.toml").write_text(f"[check]\nignore = {{ {reasons} }}\n")

    return ignore


@pytest.fixture
def record_repetition(home: Path) -> Callable[..., ForegroundRun]:
    """Records the repetition of a run, as `kfgcp.rerun` does, and returns its engine, which has not
    started."""

    def record(run_id: str, **options: Any) -> ForegroundRun:
        backend, request = prepare_repetition(Workspace.default(), run_id, None, None, options)
        engine = capability(backend, SupportsForeground)
        assert engine is not None
        return engine.open(request)

    return record


@pytest.fixture
def log(home: Path) -> Callable[..., list[str]]:
    """The lines that a task of a run wrote."""
    return lambda run, task, attempt=None: [
        line.text for line in api.logs(run.run_id, task, attempt)
    ]


@pytest.fixture(scope="session")
def states() -> Callable[[Any], dict[str, str]]:
    """The state of every task of a run, or of a simulated one, by path."""

    def by_path(run: Any) -> dict[str, str]:
        if isinstance(run, Scheduler):
            return {node.path: node.state.value for node in every_node(run.root)}
        return {task.path: task.state.value for task in run.tasks}

    return by_path


@pytest.fixture(scope="session")
def task() -> Callable[[Run, str], Task]:
    """The task of a run at a path."""
    return lambda run, path: next(one_task for one_task in run.tasks if one_task.path == path)


@pytest.fixture(scope="session")
def written() -> Callable[[Run, str], Any]:
    """The parameter `Output` of a task, which is JSON text."""
    return lambda run, path: json.loads(
        next(t for t in run.tasks if t.path == path).outputs["Output"]
    )


def every_node(root: Node) -> list[Node]:
    nodes, todo = [], list(root.children.values())
    while todo:
        node = todo.pop(0)
        nodes.append(node)
        todo = [*node.children.values(), *todo]
    return nodes


@pytest.fixture(scope="session")
def simulate() -> Callable[..., Scheduler[Node]]:
    """Drives a scheduler to its end without processes.

    Args: the pipeline; `behave`, which gives a node's outputs or, as text, why its attempt failed;
    the parameters; `choose`, which of N running tasks ends next; `limit`, tasks at the same time;
    `watch`, called with what runs.
    """

    def run(
        pipeline: Any,
        behave: Callable[[Node], Values | str],
        params: JsonObject | None = None,
        choose: Callable[[int], int] = lambda count: 0,
        limit: int = 1000,
        watch: Callable[[list[Node]], None] = lambda running: None,
        **options: Any,
    ) -> Scheduler[Node]:
        spec = to_spec(pipeline)
        scheduler = Scheduler(
            build(spec.pipeline_spec), Node, Values(resolve(spec.params, params or {})), **options
        )
        scheduler.start()
        running: list[Node] = []
        while not scheduler.done:
            while scheduler.ready and len(running) < limit:
                node = scheduler.ready.popleft()
                node.attempts += 1
                node.state = TaskState.RUNNING
                running.append(node)
            assert running, "the scheduler waits for nothing"
            watch(running)
            node = running.pop(choose(len(running)))
            result = behave(node)
            if isinstance(result, Values):
                scheduler.record_success(node, result)
            elif scheduler.record_failure(node, ErrorInfo(result, node.path)) is not None:
                scheduler.requeue(node)
        return scheduler

    return run


@pytest.fixture
def one(compiled):
    """The compiled pipeline of one task `add(x=x, y=2)`."""
    return compiled(one_task)
