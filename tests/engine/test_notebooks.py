"""Notebook components: a notebook that KFP embeds in a Python component, run with parameters by a
kernel of its own.

Their packages (nbclient, ipykernel and what these need) are among those of the tests, so nothing is
installed.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from json_types import JsonDict
from kfgcp.model import Run, RunState, Task

pytestmark = pytest.mark.skipif(
    not hasattr(dsl, "notebook_component"),
    reason="the installed kfp has no notebook components (2.15 and newer have)",
)


@pytest.fixture(scope="module")
def state_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notebooks")


@pytest.fixture
def notebook(home: Path, state_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The pipeline of one notebook component, made of the notebook's cells."""
    monkeypatch.setenv("KFGCP_HOME", str(state_folder))

    def make(*cells: str, parameters: str = "factor = 1\ntext = 'unset'") -> Any:
        code = [_cell(parameters, "parameters"), *map(_cell, cells)]
        file = home / "sums.ipynb"
        file.write_text(
            json.dumps({"cells": code, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
        )

        @dsl.notebook_component(notebook_path=str(file), base_image="python:3.11")
        def sums(factor: int, text: str, numbers: list, table: dsl.Output[dsl.Dataset]) -> str:
            dsl.run_notebook(factor=factor, text=text, numbers=numbers, target=table.path)
            with open(table.path) as written:
                return written.read()

        @dsl.component(base_image="python:3.11")
        def length(table: dsl.Input[dsl.Dataset]) -> int:
            with open(table.path) as written:
                return len(written.read())

        @dsl.pipeline(name="notebook")
        def pipeline(factor: int, text: str, numbers: list) -> str:
            producer = sums(factor=factor, text=text, numbers=numbers)
            length(table=producer.outputs["table"])
            return producer.outputs["Output"]

        return pipeline

    return make


def _cell(source: str, *tags: str) -> JsonDict:
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": re.sub("[^a-z]", "", source)[:60],
        "metadata": {"tags": list(tags)},
        "outputs": [],
        "source": source,
    }


PARAMS = {"factor": 3, "text": 'it\'s {{$}} "x"\n', "numbers": [1, 2, 4]}


@pytest.mark.rule(
    "Running a task: a notebook component runs its notebook with the parameters it is given"
)
def test_a_notebook_runs_with_its_parameters(
    execute: Callable[..., Run],
    notebook: Callable[..., Any],
    log: Callable[..., list[str]],
    task: Callable[[Run, str], Task],
) -> None:
    pipeline = notebook(
        "total = sum(numbers) * factor\nprint('total', total)",
        "with open(target, 'w') as file:\n    file.write(f'{text}{total}')",
    )

    run = execute(pipeline, PARAMS)

    assert run.state is RunState.SUCCEEDED, (run.error, log(run, "sums"))
    assert run.outputs == {"Output": 'it\'s {{$}} "x"\n21'}, "(1 + 2 + 4) * 3"
    assert task(run, "length").outputs == {"Output": 17}
    assert any(line.endswith("total 21") for line in log(run, "sums"))
    assert task(execute(pipeline, PARAMS), "sums").state == "CACHED"


@pytest.mark.rule(
    "Running a task: a notebook component runs its notebook with the parameters it is given"
)
def test_a_cell_that_fails_fails_the_task(
    execute: Callable[..., Run],
    notebook: Callable[..., Any],
    states: Callable[[Any], dict[str, str]],
    log: Callable[..., list[str]],
    task: Callable[[Run, str], Task],
) -> None:
    run = execute(notebook("print('before')", "numbers[factor]", "print('after')"), PARAMS)

    assert states(run) == {"sums": "FAILED", "length": "SKIPPED"}
    error = task(run, "sums").error
    assert error.message == "IndexError: list index out of range"
    tail = [re.sub("\x1b\\[[0-9;]*m", "", line) for line in error.log_tail]  # IPython's colours
    assert "IndexError: list index out of range" in tail
    assert "----> 1 numbers[factor]" in tail
    assert "[nb cell 2 stream] before" in log(run, "sums"), (
        "cells 0 and 1 are the parameters and those that KFP puts in"
    )
    assert not any("after" in line for line in log(run, "sums"))
