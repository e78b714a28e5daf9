"""The README does what it says, and leaves nothing out."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kfgcp import errors
from kfgcp.cli.verbs import verb_names
from shells import Shell

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINK = re.compile(r"!?\[[^\]]*\]\(([^()\s]+)\)")
FENCE = re.compile(r"^(```+).*?^\1\s*$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
Parts = Callable[[str, str], list[str]]


def _first_cells(text: str) -> list[str]:
    """Of each table row, the heading and the rule below it included."""
    return re.findall(r"^\| `?([^|`]+?)`? \|", text, re.MULTILINE)


def test_the_tour_runs_line_by_line_as_it_is(shell: Shell, blocks: Parts) -> None:
    (tour,) = [block for block in blocks(README, "sh") if "kfgcp init" in block]
    lines = tour.splitlines()
    output_by_line: dict[str, str] = {}
    for line in lines:
        result = shell(line)
        assert result.returncode == 0, f"{line}\n{result.stdout}{result.stderr}"
        output_by_line[line.split("&&")[0].strip()] = result.stdout

    assert len(lines) == 10
    for line, expected in {
        "kfgcp init words": "pipelines/long_words.py",
        "kfgcp run pipelines/long_words.py": "share_of_long_words  0.333333",
        "kfgcp show hamlet": "to be or not to be",
        "kfgcp logs hamlet make-words": "6 words\n",
        "kfgcp compare": "2  (-2)",
    }.items():
        assert expected in output_by_line[line], line
    listed = output_by_line["kfgcp list"].splitlines()
    assert [line.split()[1] for line in listed] == ["STATE", "SUCCEEDED", "SUCCEEDED"]
    assert len((shell.folder / "runs.csv").read_text(encoding="utf-8").splitlines()) == 1 + 2
    run = json.loads((shell.folder / "run.json").read_text(encoding="utf-8"))
    assert (run["state"], run["pipeline"]) == ("SUCCEEDED", "long-words")


def test_the_python_blocks_run_as_they_are(shell: Shell, blocks: Parts) -> None:
    first, follows = blocks(README, "python")
    assert shell("kfgcp init .").returncode == 0
    (shell.folder / "first.py").write_text(first, encoding="utf-8")
    (shell.folder / "follows.py").write_text(f"import kfgcp\n\n{follows}", encoding="utf-8")

    followed = shell("python follows.py")
    result = shell("python first.py")

    assert result.returncode == 0, result.stderr
    assert "SUCCEEDED" in result.stdout
    assert "['9 words']" in result.stdout
    assert "params longer_than (5, 4)" in result.stdout
    assert "metrics.measure.mean_length" in result.stdout
    assert followed.returncode == 0, followed.stderr
    assert followed.stdout.splitlines() == [
        "make-words RUNNING",
        "make-words 9 words",
        "make-words SUCCEEDED",
        "measure RUNNING",
        "measure SUCCEEDED",
    ]


def test_the_configuration_is_valid(shell: Shell, blocks: Parts) -> None:
    (block,) = blocks(README, "toml")
    (shell.folder / "kfgcp.toml").write_text(block, encoding="utf-8")

    assert shell("kfgcp list").returncode == 0


def test_every_verb_is_in_the_table(section: Callable[[str, str], str]) -> None:
    assert sorted(_first_cells(section(README, "## Verbs"))[2:]) == sorted(verb_names())


def test_every_exit_code_is_in_the_table(section: Callable[[str, str], str]) -> None:
    def classes(base: type[errors.KfgcpError]) -> Iterator[type[errors.KfgcpError]]:
        yield base
        for below in base.__subclasses__():
            if below.__module__ == errors.__name__:
                yield from classes(below)

    codes = {0, *(error_class.exit_code for error_class in classes(errors.KfgcpError))}

    assert [int(cell) for cell in _first_cells(section(README, "## Exit codes"))[2:]] == sorted(
        codes
    )


def test_the_make_targets_that_it_names_are_there(blocks: Parts) -> None:
    targets = re.findall(
        r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )

    assert set(re.findall(r"^make ([a-z]+)", "\n".join(blocks(README, "sh")), re.MULTILINE)) <= set(
        targets
    )


def test_the_place_for_the_status_of_the_engine_is_marked_once() -> None:
    assert README.count("<!-- engine status -->") == 1


def _markdown() -> list[Path]:
    ignored = {"node_modules", "build", "dist", "compiled"}
    return sorted(
        file
        for file in ROOT.rglob("*.md")
        if not any(part.startswith(".") or part in ignored for part in file.relative_to(ROOT).parts)
    )


@pytest.mark.parametrize("file", _markdown(), ids=lambda file: str(file.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(file: Path) -> None:
    text = CODE.sub("", FENCE.sub("", file.read_text(encoding="utf-8")))
    links = [link for link in LINK.findall(text) if not re.match(r"[a-z]+:", link)]

    for link in links:
        name, _, anchor = link.partition("#")
        target = (file.parent / name) if name else file
        assert target.exists(), link
        if anchor:
            assert anchor in _anchors(target), link


def _anchors(file: Path) -> set[str]:
    headings = re.findall(
        r"^#+ (.+)$", FENCE.sub("", file.read_text(encoding="utf-8")), re.MULTILINE
    )
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
