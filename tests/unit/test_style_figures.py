"""`tools/style_figures.py` counts what it says, and stops a folder from getting worse."""

from __future__ import annotations

from pathlib import Path

import pytest

import style_figures

# The figures of this text were counted by hand.
TEXT = '''\
"""Two functions."""

from typing import Any


# Why the first one is as it is.
def first(found: Any, *rest: int) -> list[int]:
    known, number = 1, 2
    pair = (number, *rest)
    print(*("a", "b"))
    print(*rest)
    return [n if n else 0 for n in pair]


def second(rows: list[list[int]]) -> "int":
    value = (1 if rows else 2) + (3 if rows else 4)
    if [n for row in rows for n in row]:
        return [[n for n in row] for row in rows][0][0]
    first, *others = rows
    return value
'''


@pytest.fixture
def figures(tmp_path: Path) -> style_figures.Figures:
    path = tmp_path / "example.py"
    path.write_text(TEXT)
    return style_figures.measure(path)


def test_counts_of_a_file(figures: style_figures.Figures) -> None:
    assert figures.lines == 15
    assert figures.comments == 1
    assert figures.comprehensions == 4
    assert figures.conditionals == 3
    # `*rest` in the tuple, `*("a", "b")`, `*rest` in the call, `*others`.
    assert figures.starred == 4
    # found rest known number pair n, rows value n row n row first others
    assert (figures.vague, figures.bindings) == (2, 14)
    assert figures.signatures == 2


def test_places_with_a_remedy(figures: style_figures.Figures) -> None:
    places = sorted((place.kind, place.line) for place in figures.places)
    assert places == [
        ("Any in signatures", 7),
        ("nested comprehensions", 18),
        ("starred tuples", 9),
        ("starred tuples", 10),
        ("two conditionals", 16),
    ]


def test_a_statement_does_not_count_the_statements_in_it(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text("if a:\n    b = 1 if a else 2\n    c = 3 if a else 4\n")
    assert style_figures.measure(path).places == []


def test_a_folder_that_is_worse_than_its_limit_is_named(figures: style_figures.Figures) -> None:
    limits = {"kfgcp/cli": {"starred tuples": 1, "nested comprehensions": 1}}
    problems = style_figures.worse({"kfgcp/cli": figures}, limits)
    assert problems == [
        "kfgcp/cli: 1 two conditionals, the limit is 0."
        " Write an if statement, or give one of the values a name.",
        "    kfgcp/cli/example.py:16",
        "kfgcp/cli: 2 starred tuples, the limit is 1."
        " Write the elements out, or add the two tuples.",
        "    kfgcp/cli/example.py:9",
        "    kfgcp/cli/example.py:10",
        "kfgcp/cli: 1 Any in signatures, the limit is 0."
        " Name the type: a dataclass, a TypedDict, a Protocol, object.",
        "    kfgcp/cli/example.py:7",
    ]


def test_an_update_lowers_limits_and_never_raises_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "kfgcp"
    folder.mkdir()
    source = folder / "example.py"
    source.write_text(TEXT)
    limits = tmp_path / "limits.toml"
    monkeypatch.setattr(style_figures, "ROOT", tmp_path)
    monkeypatch.setattr(style_figures, "CHECKED", ("kfgcp",))
    monkeypatch.setattr(style_figures, "LIMITS", limits)
    assert style_figures.main(["--update"]) == 0
    first = limits.read_text()
    assert '"starred tuples" = 2' in first
    assert style_figures.main(["--check"]) == 0

    source.write_text(TEXT + "\n\nmore = (*rows, 1)\n")
    assert style_figures.main(["--check"]) == 1
    assert "3 starred tuples, the limit is 2" in capsys.readouterr().err
    assert style_figures.main(["--update"]) == 1
    assert limits.read_text() == first

    source.write_text("pair = (*rows, 1)\n")
    assert style_figures.main(["--update"]) == 0
    assert '"starred tuples" = 1' in limits.read_text()
