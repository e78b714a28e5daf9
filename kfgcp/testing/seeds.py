"""The pipeline of seeded jobs that bring none: one task `train`, which puts out metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_KINDS = ((bool, "BOOLEAN"), (int, "NUMBER_INTEGER"), (float, "NUMBER_DOUBLE"), (list, "LIST"), (dict, "STRUCT"))


def seed_spec(params: Mapping[str, Any]) -> dict[str, Any]:
    """A PipelineSpec with parameters of the types of these values, which all go to the task."""
    inputs = {"parameters": {name: {"parameterType": _kind(value)} for name, value in params.items()}}
    metrics = {"artifactType": {"schemaTitle": "system.Metrics", "schemaVersion": "0.0.1"}}
    task = {
        "taskInfo": {"name": "train"},
        "componentRef": {"name": "comp-train"},
        "inputs": {"parameters": {name: {"componentInputParameter": name} for name in params}},
    }
    return {
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.14.0",
        "pipelineInfo": {"name": "seeded"},
        "root": {"inputDefinitions": inputs, "dag": {"tasks": {"train": task}}},
        "components": {
            "comp-train": {
                "executorLabel": "exec-train",
                "inputDefinitions": inputs,
                "outputDefinitions": {"artifacts": {"metrics": metrics}},
            }
        },
        "deploymentSpec": {"executors": {"exec-train": {"container": {"image": "python:3.11", "command": ["true"]}}}},
    }


def _kind(value: Any) -> str:
    return next((kind for type_, kind in _KINDS if isinstance(value, type_)), "STRING")
