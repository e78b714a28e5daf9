"""Where an error stands among its hints."""

from pathlib import Path

from kfgcp_command import Command

PARAMETERS = 60


def test_an_error_about_a_missing_parameter_is_printed_last(kfgcp: Command, home: Path) -> None:
    optional = ", ".join(f"p{number}: int = 0" for number in range(PARAMETERS))
    (home / "p.py").write_text(
        "from kfp import dsl\n\n\n@dsl.component(base_image='python:3.11')\n"
        f"def step(data: str, {optional}) -> str:\n    return data\n"
    )

    result = kfgcp("run", "p.py")

    assert result.code == 2
    lines = result.err.splitlines()
    assert lines[-1] == "error: Wrong parameters: data is required."
    assert lines[0] == "hint: The pipeline's parameters:"
    assert len(lines) == PARAMETERS + 3


def test_an_error_with_a_short_hint_is_printed_above_it(kfgcp: Command) -> None:
    result = kfgcp("run", "no_such_file.py")

    assert [line.partition(":")[0] for line in result.err.splitlines()] == ["error", "hint"]
