"""Pipelines that several benchmarks run: their source, and how to compile them into larger ones."""

from __future__ import annotations

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

ONE_TASK = """
from kfp import dsl


@dsl.component(base_image="python:3.11")
def add(a: int, b: int) -> int:
    return a + b


@dsl.pipeline(name="one-task")
def one_task(a: int = 1, b: int = 2) -> int:
    return add(a=a, b=b).output
"""
NOOP = """
from kfp import dsl

@dsl.component(base_image="python:3.11")
def noop():
    pass

@dsl.pipeline(name="noop")
def pipeline():
    noop()
"""


def compile_source(kfgcp: str, name: str, source: str, folder: Path = Path()) -> dict[str, Any]:
    """Return the compiled form of a pipeline; the folder keeps NAME.py and NAME.json.

    Args:
        kfgcp: the command that compiles.
        name: the name of both files, without their endings.
        source: Python with one pipeline.
        folder: where to write; the current folder by default.
    """
    (folder / f"{name}.py").write_text(source, encoding="utf-8")
    command = [kfgcp, "compile", f"{name}.py", "-o", f"{name}.json"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    spec: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return spec


def grid(noop: dict[str, Any], width: int, length: int) -> dict[str, Any]:
    """Return a pipeline of `width` chains side by side, each of `length` tasks.

    KFP's compiler would take minutes for large ones.

    Args:
        noop: the compiled pipeline NOOP; its only task is repeated.
        width: the number of chains.
        length: the tasks of one chain.
    """
    spec = copy.deepcopy(noop)
    tasks = spec["root"]["dag"]["tasks"]
    task = tasks.pop("noop")
    for row in range(width):
        for place in range(length):
            key = f"noop-{row}-{place}"
            tasks[key] = {**task, "taskInfo": {"name": key}}
            if place:
                tasks[key]["dependentTasks"] = [f"noop-{row}-{place - 1}"]
    return spec


def save(file: Path | str, spec: dict[str, Any]) -> None:
    """Write a compiled pipeline as JSON."""
    Path(file).write_text(json.dumps(spec), encoding="utf-8")
