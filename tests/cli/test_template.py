"""`kfgcp template`: which templates there are, and what is in them."""

from pathlib import Path
from typing import Any


def test_the_list_names_each_template_and_what_it_does(kfgcp: Any, home: Path) -> None:
    result = kfgcp("template", "list")

    assert result.code == 0
    assert result.out.splitlines()[0].split() == ["TEMPLATE", "WHAT", "IT", "DOES"]
    rows = kfgcp("template", "list", "--json").json
    assert rows[0] == {
        "name": "train-gate-register",
        "summary": "Train a classifier, and register it when a gate says that it may be used.",
    }
    assert [row["name"] for row in rows] == [
        "train-gate-register",
        "batch-predict",
        "validate-data",
        "retrain-on-drift",
        "train-regressor",
    ]
    assert result.err == "next: kfgcp init my-project --template train-gate-register\n"


def test_a_template_shows_its_files_and_its_readme(kfgcp: Any, home: Path) -> None:
    result = kfgcp("template", "show", "train-gate-register")

    assert result.code == 0
    assert "pipelines/train.py" in result.out.splitlines()
    assert "template.toml" not in result.out
    assert "# train-gate-register\n" in result.out
    assert result.err == "next: kfgcp init train-gate-register --template train-gate-register\n"


def test_a_template_that_does_not_exist_is_one_line(kfgcp: Any, home: Path) -> None:
    for arguments in (("template", "show", "train-gate-registr"), ("init", "--template", "trainn")):
        result = kfgcp(*arguments)

        assert (result.code, result.out) == (2, "")
        assert result.err.startswith(f"error: There is no template '{arguments[-1]}'.")
        assert "train-gate-register" in result.err
    assert list(home.iterdir()) == []


def test_a_project_from_a_template_overwrites_nothing(kfgcp: Any, home: Path) -> None:
    (home / "README.md").write_text("mine")

    result = kfgcp("init", "--template", "train-gate-register")

    assert result.code == 2
    assert "README.md already exists. Nothing was written." in result.err
    assert [path.name for path in home.iterdir()] == ["README.md"]
