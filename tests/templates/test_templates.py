"""Each template: the project that it makes runs, tests itself, and is the same on all backends."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import kfgcp as package
from kfgcp.testing import KubeflowStandIn, VertexStandIn
from patience import PROCESS

TEMPLATES = [template.name for template in package.templates()]
WITH_REGISTRY = ("batch-predict", "train-gate-register")

# The longest pipeline that a newcomer reads at once.
MOST_LINES = 80

each_template = pytest.mark.parametrize("template", TEMPLATES)


@pytest.fixture
def shop(home: Path, template: str) -> Path:
    """Return the folder of a new project that was made from a template."""
    package.init("shop", template=template)
    return home / "shop"


def results_of(result: Any) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the metrics of a run by task and name, and the outputs of its pipeline."""
    assert result.code == 0, result.err
    metrics = {f"{one['task']}/{one['name']}": one["value"] for one in result.json["metrics"]}
    return metrics, result.json["outputs"]


@each_template
def test_a_project_has_everything_that_a_newcomer_needs(shop: Path, template: str) -> None:
    files = {str(path.relative_to(shop)) for path in shop.rglob("*") if path.is_file()}
    settings = tomllib.loads((shop / "kfgcp.toml").read_text())

    assert {"kfgcp.toml", "README.md", "Makefile", ".gitignore", "data/README.md"} <= files
    assert [file for file in files if file.startswith("tests/test_")]
    assert {"local", "dev", "gke"} <= settings["env"].keys()
    assert settings["project"]["name"] == "shop"
    assert all("smoke" in table for table in settings["pipeline"].values())
    assert (shop / "README.md").read_text().startswith("# shop\n")
    assert "Licence" in (shop / "data/README.md").read_text()
    for file in (shop / "pipelines").glob("*.py"):
        program = file.read_text()
        assert program.count("\n") < MOST_LINES
        assert "import kfgcp\n" not in program
        assert "from kfgcp " not in program


@each_template
def test_make_test_passes(shop: Path) -> None:
    done = subprocess.run(
        ["make", "test", f"PYTHON={sys.executable}"],
        cwd=shop,
        capture_output=True,
        text=True,
        timeout=PROCESS,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ passed", done.stdout)


@each_template
def test_the_run_is_the_same_here_and_on_stand_ins(
    shop: Path,
    template: str,
    kfgcp: Any,
    vertex_stand_in: VertexStandIn,
    kubeflow_stand_in: KubeflowStandIn,
) -> None:
    command = next(one for one in package.templates() if one.name == template).run.split()[1:]
    if template == "train-regressor":
        # Two models are a loop. Three would take longer, on each of the three backends.
        command += ["-p", 'models=["ridge", "gradient_boosting"]']
    (settings,) = tomllib.loads((shop / "kfgcp.toml").read_text())["pipeline"].values()

    def places(env: str) -> list[str]:
        params = []
        for name, value in settings["params"].items():
            # The bucket of the stand-in is empty, so the files of the project are used.
            if str(value).startswith("data/"):
                params += ["-p", f"{name}={shop / value}"]
        if template in WITH_REGISTRY:
            # Each run registers the first model of its own registry.
            params += ["-p", f"registry={shop / env}"]
        return params

    variables = {**vertex_stand_in.environ_of("dev"), **kubeflow_stand_in.environ_of("gke")}
    # Both stand-ins write to the storage of the newest one.
    variables["STORAGE_EMULATOR_HOST"] = os.environ["STORAGE_EMULATOR_HOST"]

    here = results_of(kfgcp(*command, "--json", cwd=shop))
    on_vertex = results_of(
        kfgcp(*command, *places("dev"), "--env", "dev", "--json", cwd=shop, env=variables)
    )
    on_kubeflow = results_of(
        kfgcp(*command, *places("gke"), "--env", "gke", "--json", cwd=shop, env=variables)
    )

    metrics, outputs = here
    assert metrics or outputs
    for other_metrics, other_outputs in (on_vertex, on_kubeflow):
        # Kubeflow Pipelines may round metrics to six decimals.
        assert other_metrics == pytest.approx(metrics, rel=1e-5)
        assert other_outputs == outputs
