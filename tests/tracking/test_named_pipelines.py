"""Pipelines that kfgcp.toml declares: each verb takes their names."""

from pathlib import Path
from typing import Any

import pytest

import kfgcp
from kfgcp.errors import ConfigError, ParamError, UsageError
from patience import PROCESS

CHURN = """\
from kfp import dsl
from kfp.dsl import Artifact, Input


@dsl.component(base_image="python:3.11")
def add(rows: int, label: str) -> int:
    return rows + 1


@dsl.component(base_image="python:3.11")
def measure(table: Input[Artifact]) -> str:
    with open(table.path) as file:
        return file.read()


@dsl.pipeline(name="customer-churn")
def churn(rows: int = 1, label: str = "x") -> int:
    return add(rows=rows, label=label).output


@dsl.pipeline(name="table-size")
def size(table: Input[Artifact]) -> str:
    return measure(table=table).output
"""
TOML = """\
[env.dev]
backend = "vertex"
project = "p"
location = "l"
pipeline_root = "gs://b"

[env.gke]
backend = "kubeflow"
host = "http://127.0.0.1:9"
auth = "anonymous"

[pipeline.churn]
source = "pipelines/churn.py:churn"
envs = ["dev"]
params = { rows = 1000, label = "all" }
smoke = { rows = 10 }

[pipeline.churn.env.dev]
params = { rows = 50 }

[pipeline.size]
source = "pipelines/churn.py:size"
params = { table = "data/table.txt" }
"""


@pytest.fixture
def project(home: Path) -> Path:
    """Return the folder of a project with the pipelines `churn` and `size`."""
    (home / "pipelines").mkdir()
    (home / "pipelines" / "churn.py").write_text(CHURN)
    (home / "pipelines" / "other.py").write_text(CHURN.partition('@dsl.pipeline(name="table')[0])
    (home / "kfgcp.toml").write_text(TOML)
    return home


def params_of(*arguments: Any, **options: Any) -> dict[str, Any]:
    plan = kfgcp.Workspace.default().preview(*arguments, **options)
    return dict(plan.request.params)


def test_a_named_pipeline_runs_from_any_folder_with_the_parameters_of_its_table(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(project / "deep" / "er")

    run = kfgcp.run("churn", timeout=PROCESS)

    assert (run.snapshot.pipeline, run.snapshot.params, run.outputs) == (
        "customer-churn",
        {"rows": 1000, "label": "all"},
        {"Output": 1001},
    )


def test_the_file_of_one_table_has_the_parameters_of_the_table(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert params_of("pipelines/churn.py:churn") == {"rows": 1000, "label": "all"}
    assert params_of("pipelines/churn.py:churn", smoke=True) == {"rows": 10, "label": "all"}
    assert params_of("pipelines/other.py") == {"rows": 1, "label": "x"}
    monkeypatch.chdir(project / "pipelines")
    assert params_of(Path("churn.py:churn"), env="dev") == {"rows": 50, "label": "all"}


def test_a_file_of_two_tables_has_no_parameters_of_a_table(project: Path) -> None:
    with (project / "kfgcp.toml").open("a") as file:
        file.write(
            '[pipeline.weekly]\nsource = "pipelines/churn.py:churn"\nparams = { rows = 7 }\n'
        )

    assert params_of("pipelines/churn.py:churn") == {"rows": 1, "label": "x"}
    assert params_of("weekly") == {"rows": 7, "label": "x"}


def test_parameters_come_from_the_table_the_environment_smoke_and_the_caller(project: Path) -> None:
    assert params_of("churn") == {"rows": 1000, "label": "all"}
    assert params_of("churn", env="dev") == {"rows": 50, "label": "all"}
    assert params_of("churn", env="dev", smoke=True) == {"rows": 10, "label": "all"}
    own = {"rows": 3, "label": "own"}
    assert params_of("churn", env="dev", smoke=True, params=own) == own
    compiled = kfgcp.compile("churn")
    assert compiled.name == "customer-churn"
    assert params_of(compiled, env="dev") == {"rows": 50, "label": "all"}
    request = kfgcp.dry_run("churn", env="dev").request
    assert request is not None
    assert request["runtimeConfig"]["parameterValues"] == {"rows": 50, "label": "all"}


def test_p_overrides_the_params_file_which_overrides_the_table(project: Path, kfgcp: Any) -> None:
    (project / "p.yaml").write_text("rows: 7\nlabel: file\n")

    result = kfgcp("run", "churn", "--smoke", "--params-file", "p.yaml", "-p", "rows=8", "--json")

    assert result.code == 0
    assert result.json["params"] == {"rows": 8, "label": "file"}
    assert kfgcp("run", "churn", "--smoke", "--json").json["params"] == {"rows": 10, "label": "all"}


def test_relative_paths_of_artifacts_start_at_the_table_or_at_the_caller(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, text in (("data", "of the project"), ("deep/data", "of the caller")):
        (project / folder).mkdir(parents=True)
        (project / folder / "table.txt").write_text(text)
    monkeypatch.chdir(project / "deep")

    own = {"table": "data/table.txt"}

    assert kfgcp.run("size", timeout=PROCESS).outputs == {"Output": "of the project"}
    assert kfgcp.run("size", params=own, timeout=PROCESS).outputs == {"Output": "of the caller"}


def test_a_name_wins_over_a_file_or_folder_with_the_same_name(project: Path) -> None:
    (project / "churn").mkdir()
    (project / "size").write_text("not a pipeline")

    assert kfgcp.compile("churn").name == "customer-churn"
    assert kfgcp.compile("size").name == "table-size"
    with pytest.raises(UsageError, match="churn is a folder"):
        kfgcp.compile("./churn")
    with pytest.raises(UsageError, match="churn is a folder"):
        kfgcp.compile(Path("churn"))


def test_a_rerun_names_the_pipeline_whose_files_were_edited(project: Path, kfgcp: Any) -> None:
    assert kfgcp("run", "churn").code == 0
    file = project / "pipelines" / "churn.py"
    file.write_text(file.read_text() + "\n# edited\n")

    result = kfgcp("rerun", "latest")

    assert result.code == 0
    assert "To run the new code: kfgcp run churn" in result.err.replace("\n", " ")


def test_check_takes_a_name_and_its_environments(project: Path, kfgcp: Any) -> None:
    result = kfgcp("check", "churn")

    assert "dev (vertex): runs" in result.out
    assert "local" not in result.out
    assert "gke" in kfgcp("check", "churn", "--env", "gke").out
    assert "local: runs" in kfgcp("check", "size").out


def test_compile_diff_and_doctor_take_a_name(project: Path, kfgcp: Any) -> None:
    compiled = kfgcp("compile", "churn", "-o", "churn.yaml")

    assert compiled.out.startswith("customer-churn  sha256:")
    assert "No difference." in kfgcp("diff", "churn", "churn.yaml").out
    assert kfgcp("diff", "churn", "size", "--exit-code").code == 4
    assert kfgcp("doctor", "churn").code == 0
    assert "no pipeline 'chrun'" in kfgcp("doctor", "chrun").err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run chrun", "kfgcp.toml has no pipeline 'chrun'."),
        ("compile chrun", "kfgcp.toml has no pipeline 'chrun'."),
        ("check chrun", "kfgcp.toml has no pipeline 'chrun'."),
        (
            "run churn --env gke",
            "The pipeline 'churn' is not for the environment 'gke' (kfgcp.toml [pipeline.churn]:"
            " envs).",
        ),
        ("run size --smoke", "kfgcp.toml [pipeline.size] has no smoke parameters."),
        (
            "run pipelines/other.py --smoke",
            "Only a pipeline of kfgcp.toml has smoke parameters.",
        ),
    ],
)
def test_a_wrong_command_is_one_line(
    project: Path, kfgcp: Any, arguments: str, message: str
) -> None:
    result = kfgcp(*arguments.split())

    assert (result.code, result.out) == (2, "")
    assert result.err.splitlines()[0] == f"error: {message}"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "rows = 1000,",
            "rwos = 1000,",
            "kfgcp.toml [pipeline.churn] params: rwos is unknown (did you mean rows?).",
        ),
        (
            "rows = 10 ",
            'rows = "ten" ',
            "kfgcp.toml [pipeline.churn] smoke: rows must be int, not the text 'ten'.",
        ),
        (
            "rows = 50",
            "rows = 2026-01-31",
            "kfgcp.toml [pipeline.churn.env.dev] params: rows is of type date, which JSON cannot"
            " carry.",
        ),
    ],
)
def test_check_validates_each_set_of_parameters(
    project: Path, old: str, new: str, message: str
) -> None:
    (project / "kfgcp.toml").write_text(TOML.replace(old, new))

    with pytest.raises(ParamError) as caught:
        kfgcp.check("churn", "local")

    assert caught.value.message == message


def test_a_source_that_does_not_exist_names_the_table(project: Path) -> None:
    (project / "kfgcp.toml").write_text(TOML.replace("churn.py:size", "chrun.py:size"))

    with pytest.raises(ConfigError) as caught:
        kfgcp.compile("size")

    assert caught.value.message == (
        "kfgcp.toml [pipeline.size]: source: pipelines/chrun.py does not exist."
    )
    assert caught.value.hint == "Did you mean pipelines/churn.py?"


def test_an_error_in_a_table_affects_only_commands_that_use_it(project: Path) -> None:
    (project / "kfgcp.toml").write_text(TOML.replace('"pipelines/churn.py:size"', '""'))

    assert kfgcp.compile("churn").name == "customer-churn"
    assert kfgcp.compile("pipelines/churn.py:size").name == "table-size"
    with pytest.raises(ConfigError, match=r"\[pipeline.size\] has no source"):
        kfgcp.compile("size")
