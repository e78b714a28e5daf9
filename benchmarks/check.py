"""Measure how long `kfgcp check` judges a pipeline of 5,000 tasks.

    .venv/bin/python benchmarks/check.py [--rounds N] [--tasks N]

All rules of the general families and of the built-in backends judge each pipeline, for one
environment of each backend. The CPU time includes building the graph, but not loading the file.
Every round builds the pipeline again, so nothing is kept from the round before.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from startup import machine

from kfgcp.backends.registry import BUILT_IN
from kfgcp.rules.conditions import read_condition
from kfgcp.rules.contexts import PipelineContext
from kfgcp.rules.general import general_rules
from kfgcp.rules.rule import Rule, Target, judge
from kfgcp.spec.load import Spec
from kfgcp.tracking.check import rules_for

# A PipelineSpec as JSON.
Document = dict[str, Any]

_SCRIPT = (
    'program_path=$(mktemp -d)\n\nprintf "%s" "$0" > "$program_path/ephemeral_component.py"\n'
    "_KFP_RUNTIME=true python3 -m kfp.dsl.executor_main --component_module_path"
    ' "$program_path/ephemeral_component.py" "$@"\n'
)
_INSTALL = (
    '\nif ! [ -x "$(command -v pip)" ]; then\n    python3 -m ensurepip\nfi\n\n'
    "python3 -m pip install --quiet 'kfp==2.16.0' '--no-deps' && python3 -m pip install --quiet"
    ' \'pandas==2.2.3\' && "$0" "$@"\n'
)
_LINES_OF_SOURCE = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="rounds that count (default: 7)")
    parser.add_argument("--tasks", type=int, default=5000, help="tasks (default: 5000)")
    options = parser.parse_args()
    builders: dict[str, Callable[[int], Document]] = {
        "one component, no inputs": lambda count: build_document(count, components=1),
        "one component, inputs and conditions": lambda count: build_document(
            count, components=1, rich=True
        ),
        "a component for each task": lambda count: build_document(
            count, components=count, rich=True
        ),
    }
    rules = rules_by_backend()
    counts = ", ".join(f"{backend} {len(chosen)}" for backend, chosen in rules.items())
    print(f"{machine()}, {options.tasks} tasks, CPU time, median of {options.rounds} rounds")
    print(f"rules: {len(general_rules())} general ones; with them: {counts}\n")
    print(f"{'pipeline':40} {'general rules':>14} {'all backends':>14}")
    for name, build in builders.items():
        document = build(options.tasks)
        general = measure(document, {"": general_rules()}, options.rounds)
        everywhere = measure(document, rules, options.rounds)
        print(f"{name:40} {general:12.3f} s {everywhere:12.3f} s")


def rules_by_backend() -> dict[str, Sequence[Rule]]:
    """Return the rules for an environment of each built-in backend."""
    return {backend: rules_for(backend) for backend in BUILT_IN}


def measure(document: Document, rules_of_targets: dict[str, Sequence[Rule]], rounds: int) -> float:
    """Return the median of the seconds of CPU time to judge a pipeline for all targets."""
    times = []
    for number in range(rounds + 1):
        pipeline = PipelineContext(Spec(document, None, "bench.yaml"))
        read_condition.cache_clear()
        start = time.process_time()
        for backend, rules in rules_of_targets.items():
            judge(rules, pipeline, Target(backend, backend))
        # The first round compiles patterns and imports modules.
        if number:
            times.append(time.process_time() - start)
    return statistics.median(times)


def build_document(tasks: int, *, components: int, rich: bool = False) -> Document:
    """Return a pipeline of chains of ten tasks each.

    Args:
        tasks: the number of tasks.
        components: the number of components that they share.
        rich: whether the tasks have inputs, constants, outputs of other tasks, and conditions.
    """
    document: Document = {
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.16.0",
        "pipelineInfo": {"name": "bench"},
        "root": {
            "dag": {"tasks": {}},
            "inputDefinitions": {"parameters": {"rate": {"parameterType": "NUMBER_DOUBLE"}}},
        },
        "components": {},
        "deploymentSpec": {"executors": {}},
    }
    for number in range(components):
        add_component(document, number, rich)
    for number in range(tasks):
        add_task(document, number, components, rich)
    return document


def add_component(document: Document, number: int, rich: bool) -> None:
    component: Document = {"executorLabel": f"exec-{number}"}
    if rich:
        names = {
            "rate": {"parameterType": "NUMBER_DOUBLE"},
            "name": {"parameterType": "STRING", "defaultValue": "gs://bucket/rows.csv"},
            "text": {"parameterType": "STRING", "isOptional": True},
        }
        component["inputDefinitions"] = {"parameters": names}
        component["outputDefinitions"] = {"parameters": {"Output": {"parameterType": "STRING"}}}
    body = "\n".join(
        f"    line_{line} = compute({number}, {line})" for line in range(_LINES_OF_SOURCE)
    )
    container = {
        "image": "python:3.12",
        "command": ["sh", "-c", _INSTALL, "sh", "-ec", _SCRIPT, f"def noop():\n{body}\n"],
        "args": ["--executor_input", "{{$}}", "--function_to_execute", "noop"],
        "env": [{"name": "MODE", "value": "fast"}],
    }
    document["components"][f"comp-{number}"] = component
    document["deploymentSpec"]["executors"][f"exec-{number}"] = {"container": container}


def add_task(document: Document, number: int, components: int, rich: bool) -> None:
    task: Document = {
        "componentRef": {"name": f"comp-{number % components}"},
        "taskInfo": {"name": f"noop-{number}"},
        "cachingOptions": {"enableCache": True},
    }
    if rich:
        parameters: Document = {
            "rate": {"componentInputParameter": "rate"},
            "name": {"runtimeValue": {"constant": f"rows of {number}"}},
        }
        if number % 10:
            source = {"producerTask": f"noop-{number - 1}", "outputParameterKey": "Output"}
            parameters["text"] = {"taskOutputParameter": source}
            condition = f"inputs.parameter_values['text'] == 'value {number}'"
            task["triggerPolicy"] = {"condition": condition}
        task["inputs"] = {"parameters": copy.copy(parameters)}
    if number % 10:
        task["dependentTasks"] = [f"noop-{number - 1}"]
    document["root"]["dag"]["tasks"][f"noop-{number}"] = task


if __name__ == "__main__":
    main()
