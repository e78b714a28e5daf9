from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler

import kfgcp
import kfgcp_components
from patience import PROCESS

ROOT = Path(__file__).parents[2]
SIGNATURES = Path(__file__).parent / "signatures"
IMAGES = {"base", "gcp", "tabular"}
EXIT_TASK = "notify_on_exit"
EXAMPLES = [name for name in kfgcp_components.__all__ if name != EXIT_TASK]


def component_folder(name: str) -> Path:
    """Return the folder of a component, such as train/classifier for train_classifier."""
    function = getattr(kfgcp_components, name).python_func
    return Path(inspect.getfile(function)).parent


def run_python(code: str, cwd: Path, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PROCESS,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def compile_component(component: Any, folder: Path) -> dict[str, Any]:
    compiler.Compiler().compile(component, str(folder / "spec.yaml"))
    spec: dict[str, Any] = yaml.safe_load((folder / "spec.yaml").read_text())
    return spec


def slot_types(definitions: dict[str, Any]) -> dict[str, str]:
    """Return the type of each input or output by its name, artifacts first."""
    types = {}
    for name, slot in definitions.get("artifacts", {}).items():
        types[name] = slot["artifactType"]["schemaTitle"]
    for name, slot in definitions.get("parameters", {}).items():
        types[name] = slot["parameterType"]
    return types


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> kfgcp.Workspace:
    """A project whose current folder is the repository, where the data of the examples is."""
    monkeypatch.setenv("KFGCP_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(ROOT)
    return kfgcp.Workspace.open(ROOT)


@pytest.fixture(scope="module")
def webhook() -> Iterator[str]:
    """The address of a webhook that takes every message."""

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Write no log."""

    with HTTPServer(("127.0.0.1", 0), Webhook) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/hook"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", kfgcp_components.__all__)
def test_the_signature_of_a_component_is_kept_and_described(name: str, tmp_path: Path) -> None:
    spec = compile_component(getattr(kfgcp_components, name), tmp_path)
    (definition,) = spec["components"].values()
    signature = {
        "inputs": slot_types(definition.get("inputDefinitions", {})),
        "outputs": slot_types(definition.get("outputDefinitions", {})),
    }
    assert signature == json.loads((SIGNATURES / f"{name}.json").read_text())
    inputs = definition.get("inputDefinitions", {})
    for slots in inputs.values():
        for slot in slots.values():
            assert slot["description"].endswith((".", "}."))


def test_no_signature_is_left_of_a_component_that_is_gone() -> None:
    stored = sorted(file.stem for file in SIGNATURES.glob("*.json"))
    assert stored == sorted(kfgcp_components.__all__)


@pytest.mark.parametrize("name", kfgcp_components.__all__)
def test_a_component_runs_in_one_of_our_images_and_installs_nothing(
    name: str, tmp_path: Path
) -> None:
    spec = compile_component(getattr(kfgcp_components, name), tmp_path)
    (executor,) = spec["deploymentSpec"]["executors"].values()
    assert executor["container"]["image"] in IMAGES
    assert not re.search(r"\bpip\b", " ".join(executor["container"]["command"]))


def example_params(name: str, folder: Path, webhook: str) -> dict[str, str]:
    """Return the values of parameters whose defaults are for the machine of a user.

    The default of a registry is a folder beside the user's kfgcp.toml, and that of a webhook a
    variable of the user.
    """
    source = (component_folder(name) / "example.py").read_text()
    values = {"registry": str(folder / name), "url": webhook}
    return {key: value for key, value in values.items() if f"{key}: str" in source}


def write_pipeline_of_examples(file: Path, names: Iterable[str], webhook: str) -> None:
    """Write a pipeline that has the examples of components as its tasks.

    So pandas and scikit-learn are imported once for all of them.
    """
    imports = ["from kfp import dsl"]
    body = []
    for name in names:
        module = component_folder(name).relative_to(ROOT / "components").as_posix()
        package = module.replace("/", ".")
        imports.append(f"from {package}.example import example as {name}")
        params = example_params(name, file.parent, webhook)
        arguments = ", ".join(f"{key}={value!r}" for key, value in params.items())
        body.append(f"    {name}({arguments})")
    header = ["", "@dsl.pipeline(name='examples')", "def examples():"]
    file.write_text("\n".join([*imports, *header, *body]) + "\n")


def test_the_examples_of_the_components_run(
    workspace: kfgcp.Workspace, webhook: str, tmp_path: Path
) -> None:
    file = tmp_path / "examples.py"
    write_pipeline_of_examples(file, EXAMPLES, webhook)

    # The run has the work of 18 examples.
    run = workspace.submit(str(file)).wait(timeout=2.5 * PROCESS)

    assert run.state == "SUCCEEDED", run.error
    succeeded = {task.path.split("[")[0] for task in run.tasks if task.state == "SUCCEEDED"}
    for name in EXAMPLES:
        word = name.replace("_", "-")
        assert f"{word}-example/{word}" in succeeded


def test_the_example_of_an_exit_task_runs(
    workspace: kfgcp.Workspace, webhook: str, tmp_path: Path
) -> None:
    """Only a whole pipeline has an exit handler, so it cannot be a task of another one."""
    file = component_folder(EXIT_TASK) / "example.py"

    run = workspace.submit(str(file), params=example_params(EXIT_TASK, tmp_path, webhook))

    run.wait(timeout=PROCESS)
    assert "notify-on-exit" in {task.path for task in run.tasks}


def test_the_example_compiles_without_pandas_scikit_learn_or_a_warning(tmp_path: Path) -> None:
    output = run_python(
        "import json, sys, warnings\nwarnings.simplefilter('error',"
        f" FutureWarning)\nsys.path.insert(0, {str(ROOT / 'examples')!r})\nimport train_classifier"
        " as example\nfrom kfp import"
        " compiler\ncompiler.Compiler().compile(example.train_classifier_pipeline,"
        " 'spec.yaml')\nprint(json.dumps([name for name in ('pandas', 'sklearn', 'pyarrow') if"
        " name in sys.modules]))\n",
        tmp_path,
    )
    assert json.loads(output) == []
    spec = yaml.safe_load((tmp_path / "spec.yaml").read_text())
    assert spec["pipelineInfo"]["name"] == "train-classifier"
    assert sorted(spec["root"]["dag"]["tasks"]) == [
        "evaluate-classifier",
        "ingest-table",
        "split-table",
        "train-classifier",
    ]
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert {name: value["defaultValue"] for name, value in parameters.items()} == {
        "data": "examples/data/breast_cancer.csv",
        "target": "diagnosis",
        "model": "logistic_regression",
        "hyperparameters": {},
        "test_fraction": 0.25,
        "seed": 7,
    }
    assert all(value["description"] for value in parameters.values())


def test_the_example_runs_task_by_task_through_kfps_own_executor(tmp_path: Path) -> None:
    run_python(
        "import sys\n"
        f"sys.path.insert(0, {str(ROOT / 'examples')!r})\n"
        "from kfp import local\n"
        "import train_classifier as example\n"
        "runner = local.SubprocessRunner(use_venv=False)\n"
        "local.init(runner, pipeline_root='root', raise_on_error=True)\n"
        "example.train_classifier_pipeline(hyperparameters={'C': 0.5})\n",
        tmp_path,
        KFGCP_SUBMIT_DIR=str(ROOT),
        PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    )
    (output_file,) = tmp_path.glob("root/*/evaluate-classifier/executor_output.json")
    artifacts = json.loads(output_file.read_text())["artifacts"]
    metrics = artifacts["metrics"]["artifacts"][0]["metadata"]
    assert metrics["accuracy"] > 0.95
    assert metrics["roc_auc"] > 0.98
    curves = artifacts["classification_metrics"]["artifacts"][0]["metadata"]
    assert [spec["displayName"] for spec in curves["confusionMatrix"]["annotationSpecs"]] == [
        "benign",
        "malignant",
    ]


def test_importing_the_package_loads_neither_kfp_nor_pandas(tmp_path: Path) -> None:
    code = "import sys, kfgcp_components; print('kfp' in sys.modules, 'pandas' in sys.modules)"
    assert run_python(code, tmp_path).split() == ["False", "False"]


def test_logic_can_be_imported_where_kfp_is_missing(tmp_path: Path) -> None:
    folders = [component_folder(name) for name in kfgcp_components.__all__]
    modules = ", ".join(
        f"kfgcp_components.{folder.parent.name}.{folder.name}.logic" for folder in folders
    )
    run_python(f"import sys; sys.modules['kfp'] = None; import {modules}", tmp_path)


def test_a_name_means_the_component_even_after_its_folder_was_imported(tmp_path: Path) -> None:
    code = (
        "import kfgcp_components.data.split_table.logic\n"
        "from kfgcp_components import split_table\n"
        "print(type(split_table).__name__)\n"
    )
    assert run_python(code, tmp_path).split() == ["PythonComponent"]


def test_an_unknown_component_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'ingest_tabel'"):
        _ = kfgcp_components.ingest_tabel
    assert sorted(kfgcp_components.__all__) == kfgcp_components.__all__
    assert set(kfgcp_components.__all__) <= set(dir(kfgcp_components))


def test_components_are_made_without_a_future_warning(tmp_path: Path) -> None:
    code = "import kfgcp_components as all; [getattr(all, name) for name in all.__all__]"
    run_python(code, tmp_path, PYTHONWARNINGS="error::FutureWarning")
