"""The tables [pipeline.X] of kfgcp.toml."""

from pathlib import Path

import pytest

from config_texts import VERTEX, load_text
from kfgcp.errors import ConfigError
from kfgcp.settings import Setting

CHURN = """
[pipeline.churn]
source = "pipelines/churn.py:churn"
envs = ["dev"]
params = { rows = 100000 }
smoke = { rows = 100 }

[pipeline.churn.env.dev]
params = { rows = 5000 }
"""


def test_a_table_has_source_environments_and_parameters_with_their_origins(tmp_path: Path) -> None:
    churn = load_text(tmp_path, VERTEX + CHURN).pipeline("churn")

    assert (churn.name, churn.source, churn.folder, churn.envs) == (
        "churn",
        "pipelines/churn.py:churn",
        tmp_path,
        ("dev",),
    )
    origin = "kfgcp.toml [pipeline.churn]"
    dev_origin = "kfgcp.toml [pipeline.churn.env.dev] params"
    assert churn.origin == origin
    assert churn.params.values == {"rows": Setting(100000, f"{origin} params")}
    assert churn.env_params["dev"].values == {"rows": Setting(5000, dev_origin)}
    assert churn.smoke is not None
    assert churn.smoke.values == {"rows": Setting(100, f"{origin} smoke")}


def test_a_later_set_of_parameters_overrides_the_sets_before_it(tmp_path: Path) -> None:
    churn = load_text(tmp_path, VERTEX + CHURN).pipeline("churn")

    def rows(env: str, *, smoke: bool = False) -> list[object]:
        return [one.values["rows"].value for one in churn.param_sets(env, smoke=smoke)]

    assert rows("local") == [100000]
    assert rows("dev") == [100000, 5000]
    assert rows("dev", smoke=True) == [100000, 5000, 100]


def test_a_table_in_an_included_file_starts_paths_at_the_folder_of_kfgcp_toml(
    tmp_path: Path,
) -> None:
    (tmp_path / "kfgcp.d").mkdir()
    (tmp_path / "kfgcp.d" / "score.toml").write_text('[pipeline.score]\nsource = "score.py"\n')

    score = load_text(tmp_path, 'include = ["kfgcp.d/*.toml"]\n').pipeline("score")

    assert (score.folder, score.origin) == (tmp_path, "kfgcp.d/score.toml [pipeline.score]")
    assert (score.envs, score.smoke) == ((), None)


def test_a_pipeline_in_two_files_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "more.toml").write_text('[pipeline.churn]\nsource = "churn.py"\n')

    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, 'include = ["more.toml"]\n[pipeline.churn]\nsource = "churn.py"\n')

    assert caught.value.message == "more.toml: the table [pipeline.churn] is in kfgcp.toml too."


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[pipeline.churn]\n", "[pipeline.churn] has no source.", "Write source ="),
        ('[pipeline.churn]\nsource = ""\n', "[pipeline.churn] has no source.", "Write source ="),
        (
            '[pipeline.churn]\nsource = "c.py"\nparam = {}\n',
            "[pipeline.churn]: unknown key 'param'.",
            "Did you mean 'params'?",
        ),
        (
            '[pipeline.churn]\nsource = "c.py"\nsmoke = 3\n',
            "[pipeline.churn]: smoke must be a table, not 3.",
            "",
        ),
        (
            '[pipeline.churn]\nsource = "c.py"\nenvs = [3]\n',
            "[pipeline.churn]: envs contains 3, which is not a text.",
            "",
        ),
        (
            '[pipeline.churn]\nsource = "c.py"\nenvs = ["dve"]\n',
            "[pipeline.churn]: envs names the environment 'dve', which kfgcp.toml does not have.",
            "Did you mean 'dev'? Environments: dev, local.",
        ),
        (
            '[pipeline.churn]\nsource = "c.py"\n[pipeline.churn.env.dve]\nparams = {}\n',
            "[pipeline.churn.env.dve] names the environment 'dve', which kfgcp.toml does not have.",
            "Did you mean 'dev'?",
        ),
        (
            '[pipeline.churn]\nsource = "c.py"\n[pipeline.churn.env.dev]\nsmoke = {}\n',
            "[pipeline.churn.env.dev]: unknown key 'smoke'.",
            "Known keys: params.",
        ),
        (
            '[pipeline.churn]\nsource = "c.py"\nenv = { dev = 3 }\n',
            "[pipeline.churn]: env.dev must be a table, not 3.",
            "",
        ),
    ],
)
def test_a_wrong_table_is_an_error_of_this_pipeline_only(
    tmp_path: Path, text: str, message: str, hint: str
) -> None:
    project = load_text(tmp_path, f'{VERTEX}{text}[pipeline.other]\nsource = "other.py"\n')

    with pytest.raises(ConfigError) as caught:
        project.pipeline("churn")

    assert caught.value.message == f"kfgcp.toml {message}"
    assert hint in caught.value.hint
    assert project.pipeline("other").source == "other.py"


@pytest.mark.parametrize("name", ["churn.py", "a/b", "sha256:1a2b3c4d", "-x"])
def test_a_name_that_could_be_a_file_or_an_option_is_refused(tmp_path: Path, name: str) -> None:
    project = load_text(tmp_path, f'[pipeline."{name}"]\nsource = "c.py"\n')

    with pytest.raises(ConfigError, match="cannot be the name of a pipeline"):
        project.pipeline(name)


def test_a_pipeline_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, VERTEX + CHURN).pipeline("chrun")

    assert caught.value.message == "kfgcp.toml has no pipeline 'chrun'."
    assert caught.value.hint.startswith(
        "Did you mean 'churn'? Pipelines: churn. Add one as [pipeline.chrun], or name a file:"
    )


@pytest.mark.parametrize("text", ["pipeline = 3", "[pipeline]\nchurn = 3"])
def test_what_is_not_a_table_is_an_error_of_the_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="must be a table"):
        load_text(tmp_path, text)
