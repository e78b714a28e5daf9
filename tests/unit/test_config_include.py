"""The files that kfgcp.toml includes."""

from pathlib import Path

import pytest

from config_texts import VERTEX, load_text, read_error
from kfgcp.backends.registry import load_project
from kfgcp.settings import Setting


def _write_files(folder: Path, **files: str) -> None:
    for name, text in files.items():
        file = folder / f"{name.replace('__', '/')}.toml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")


def test_included_files_belong_to_the_project(tmp_path: Path) -> None:
    _write_files(
        tmp_path,
        kfgcp='include = ["kfgcp.d/*.toml"]\n[project]\nname = "demo"\n',
    )
    (tmp_path / "kfgcp.d").mkdir()
    _write_files(tmp_path / "kfgcp.d", dev=VERTEX, names='[project]\nexperiment = "spring"\n')

    project = load_project(tmp_path, {})

    assert (project.name, project.experiment) == ("demo", "spring")
    assert sorted(project.environments) == ["dev", "local"]
    assert project.env("dev").settings["project"] == Setting("p", "kfgcp.d/dev.toml [env.dev]")


@pytest.mark.parametrize(
    ("include", "included", "message"),
    [
        ('["more.toml"]', None, "kfgcp.toml: the included file more.toml does not exist."),
        ('"more.toml"', "", "kfgcp.toml: include must be a list of patterns, not 'more.toml'."),
        (
            '["/etc/*.toml"]',
            "",
            "kfgcp.toml: include has '/etc/*.toml', which is not below the folder of kfgcp.toml.",
        ),
        (
            '["../*.toml"]',
            "",
            "kfgcp.toml: include has '../*.toml', which is not below the folder of kfgcp.toml.",
        ),
        ('[""]', "", "kfgcp.toml: include has '', which is not below the folder of kfgcp.toml."),
        (
            '["a**.toml"]',
            "",
            "kfgcp.toml: include has 'a**.toml', which is not a pattern of files.",
        ),
        ('["."]', "", "kfgcp.toml: include has '.', which is not a pattern of files."),
        (
            '["more.toml"]',
            'include = ["x.toml"]\n',
            "more.toml: the key `include` is allowed only in kfgcp.toml.",
        ),
        (
            '["more.toml"]',
            '[project]\nname = "b"\n',
            "more.toml: [project] has the key name, which another file has too.",
        ),
        (
            '["more.toml"]',
            "[project]\nexperiment = 1\n",
            "more.toml [project]: experiment must be a text, not 1.",
        ),
        ('["more.toml"]', "[dashboard]\nalow = []\n", "more.toml [dashboard]: unknown key 'alow'."),
        ('["more.toml"]', "[env.dev]\n", "more.toml: the table [env.dev] is in kfgcp.toml too."),
        ('["more.toml"]', "[projetc]\n", "more.toml: unknown key 'projetc'."),
        ('["more.toml"]', "env = 1\n", "more.toml: env must be a table."),
        ('["more.toml"]', "[env.x]\n", "more.toml [env.x] has no backend."),
    ],
)
def test_an_error_names_the_included_file(
    tmp_path: Path, include: str, included: str | None, message: str
) -> None:
    if included is not None:
        (tmp_path / "more.toml").write_text(included)

    assert (
        read_error(tmp_path, f'include = {include}\n[project]\nname = "a"\n{VERTEX}')[0] == message
    )


def test_files_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "kfgcp.toml").write_text('include = ["more.toml"]\n', encoding="utf-8-sig")
    (tmp_path / "more.toml").write_text(VERTEX, encoding="utf-8-sig")

    assert load_project(tmp_path, {}).env("dev").get("project") == "p"


def test_a_pattern_may_match_nothing_and_never_the_file_itself(tmp_path: Path) -> None:
    assert (
        load_text(tmp_path, f'include = ["kfgcp.d/*.toml", "*.toml"]\n{VERTEX}').env("dev").name
        == "dev"
    )
