"""The way of a newcomer with the README of the template train-gate-register: each step in order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from component_images import build_images
from kfgcp_command import Command, Result, clean_environment
from patience import PROCESS, wait_for

EXPORT = re.compile(r"export (?P<name>\w+)=(?P<value>\S+)")
FILE_NAME = re.compile(r"`(?P<file>[^`]+)`")


@pytest.fixture
def shop(home: Path, kfgcp: Command) -> Path:
    """Return the folder of a new project, as the guide makes it."""
    assert kfgcp("init", "shop", "--template", "train-gate-register").code == 0
    return home / "shop"


@pytest.fixture
def stand_in(home: Path) -> Iterator[dict[str, str]]:
    """Run `kfgcp testing vertex --env dev`, and return the variables that it prints."""
    output_file = home / "variables"
    program = Path(sys.executable).with_name("kfgcp")
    with output_file.open("w") as output:
        process = subprocess.Popen(
            [str(program), "testing", "vertex", "--env", "dev"],
            stdout=output,
            stderr=subprocess.DEVNULL,
            env=clean_environment({}),
        )
    try:
        wait_for(lambda: "KFGCP_ENV_DEV_AUTH=" in output_file.read_text())
        yield dict(EXPORT.findall(output_file.read_text()))
    finally:
        process.terminate()
        process.wait(PROCESS)


def succeeded(result: Result) -> Any:
    assert result.code == 0, result.err
    assert result.json["state"] == "SUCCEEDED"
    return result.json


def code_blocks(readme: str, heading: str) -> list[str]:
    """Return the code of a section of the README, without the indentation of lists."""
    section = readme.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    blocks = []
    for indent, code in re.findall(r"^( *)```\w+\n(.*?)^\1```$", section, re.M | re.S):
        lines = [line.removeprefix(indent) for line in code.splitlines()]
        blocks.append("\n".join(lines) + "\n")
    return blocks


def commands(block: str) -> list[str]:
    """Return the arguments of the command in a block of the shell, without `kfgcp`."""
    text = block.replace("\\\n", " ").replace('"', "")
    return text.split()[1:]


def test_the_steps_on_this_machine_and_on_vertex_ai(
    shop: Path, kfgcp: Command, stand_in: dict[str, str]
) -> None:
    readme = (shop / "README.md").read_text()
    made = subprocess.run(
        ["make", "test", f"PYTHON={sys.executable}"], cwd=shop, capture_output=True, timeout=PROCESS
    )
    assert made.returncode == 0, made.stdout
    first_steps = readme.partition("```text\n")[2].partition("```")[0]
    assert "$ kfgcp run pipelines/train.py\n" in first_steps
    assert "$ kfgcp run pipelines/train.py -p model=random_forest\n" in first_steps

    run = ("run", "pipelines/train.py")
    first = succeeded(kfgcp(*run, "--json", cwd=shop))
    second = succeeded(kfgcp(*run, "-p", "model=random_forest", "--json", cwd=shop))
    compared = kfgcp("compare", cwd=shop)

    assert first["outputs"] == {"Output": True}
    assert re.search(r"model +logistic_regression +random_forest", compared.out)
    assert re.search(r"evaluate-classifier/metrics/log_loss .*\((-|\+)[0-9.]+", compared.out)

    _, run_block, client_block = code_blocks(readme, "Try Vertex AI without an account")
    arguments = [word.replace("$PWD", str(shop)) for word in commands(run_block)]
    on_vertex = succeeded(kfgcp(*arguments, "--json", cwd=shop, env=stand_in))
    seen_by_google = subprocess.run(
        [sys.executable, "-c", client_block],
        env=clean_environment(stand_in),
        capture_output=True,
        text=True,
        timeout=PROCESS,
    )

    assert on_vertex["outputs"] == first["outputs"]
    assert metrics_of(on_vertex) == pytest.approx(metrics_of(first))
    assert seen_by_google.stdout.startswith("1 "), seen_by_google.stderr
    assert "'champion'" in seen_by_google.stdout
    assert second["params"]["model"] == "random_forest"


def metrics_of(run: Any) -> dict[str, float]:
    return {f"{one['task']}/{one['name']}": one["value"] for one in run["metrics"]}


def test_a_component_with_code_of_the_project_runs_in_its_own_image(
    shop: Path, kfgcp: Command, python_base: str
) -> None:
    readme = (shop / "README.md").read_text()
    code, dockerfile, ignored, table, component, task, result_line, build_and_run = code_blocks(
        readme, "Add a component with your own code"
    )
    (shop / "shop").mkdir()
    (shop / "shop" / "counts.py").write_text(code)
    (shop / "Dockerfile").write_text(dockerfile)
    (shop / ".dockerignore").write_text(ignored)
    with (shop / "kfgcp.toml").open("a") as file:
        file.write("\n" + table)
    pipeline = shop / "pipelines" / "train.py"
    program = pipeline.read_text().replace("@dsl.pipeline", f"{component}\n\n@dsl.pipeline", 1)
    ingest = next(line for line in program.splitlines() if "ingest_table(" in line)
    pipeline.write_text(program.replace(ingest, f"{ingest}\n{task.rstrip()}", 1))
    tests = shop / "tests" / "test_train.py"
    replaced = '            "ingest-table": returns(table=file),\n'
    assert replaced in tests.read_text()
    tests.write_text(tests.read_text().replace(replaced, replaced + result_line))
    # The tests have no public base image, so the images begin with Python of this machine.
    build_images(shop, python_base, "base", "gcp", "tabular")
    build, run = build_and_run.splitlines()

    built = kfgcp(*commands(build), "--json", cwd=shop)
    result = succeeded(kfgcp(*commands(run), "--json", cwd=shop))

    assert built.code == 0, built.err
    tested = subprocess.run(
        ["make", "test", f"PYTHON={sys.executable}"],
        cwd=shop,
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        timeout=PROCESS,
    )
    assert tested.returncode == 0, tested.stdout
    (counted,) = [task for task in result["tasks"] if task["path"] == "count-classes"]
    # data/README.md: 357 benign and 212 malignant rows.
    assert counted["outputs"] == {"Output": {"benign": 357, "malignant": 212}}
    assert result["outputs"] == {"Output": True}
    assert list((shop / "models" / "own" / "classifier" / "versions").iterdir())
