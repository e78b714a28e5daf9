"""Write what follows from the verbs: names in kfgcp/__init__.py, and the table in the README.

`make reference` runs it, and a test compares the result with the files. Each part is between
`generated: NAME` and `end`. The rest of the files is written by hand.
"""

from __future__ import annotations

from pathlib import Path

import kfgcp
from kfgcp.cli.verbs import read_summary, verb_names
from kfgcp.workspace import function_names

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "kfgcp" / "__init__.py"
README = ROOT / "README.md"
LINE_LENGTH = 100


def render() -> dict[Path, str]:
    """Return the text that each file would have if it were generated now."""
    package = PACKAGE.read_text(encoding="utf-8")
    package = _replace_part(package, "    # generated: types", _type_imports(), "    # end")
    package = _replace_part(package, "    # generated: functions", _assignments(), "    # end")
    package = _replace_part(package, "# generated: function names", _function_table(), "# end")
    readme = README.read_text(encoding="utf-8")
    readme = _replace_part(readme, "<!-- generated: verbs -->", _verb_rows(), "<!-- end -->")
    return {PACKAGE: package, README: readme}


def _type_imports() -> list[str]:
    """Return imports as `from module import Name as Name`, which type checkers take for exports."""
    lines = []
    for module, names in kfgcp._TYPES.items():
        aliases = [f"{name} as {name}" for name in names.split()]
        line = f"    from {module} import {', '.join(aliases)}"
        if len(line) <= LINE_LENGTH:
            lines.append(line)
            continue
        lines.append(f"    from {module} import (")
        lines += [f"        {alias}," for alias in aliases]
        lines.append("    )")
    return lines


def _assignments() -> list[str]:
    return [f"    {name} = _workspace.{name}" for name in function_names()]


def _function_table() -> list[str]:
    lines = ["_FUNCTIONS: Final = ("]
    lines += [f'    "{name}",' for name in function_names()]
    lines.append(")")
    return lines


def _verb_rows() -> list[str]:
    """Return the table of verbs. The text is the line of each verb in `kfgcp --help`."""
    rows = ["| verb | does |", "| --- | --- |"]
    rows += [f"| `{verb}` | {read_summary(verb)} |" for verb in verb_names()]
    return rows


def _replace_part(text: str, begin: str, lines: list[str], end: str) -> str:
    """Return a text with these lines between the markers.

    Raises:
        ValueError: a marker is missing.
    """
    start = text.index(f"{begin}\n") + len(f"{begin}\n")
    stop = text.index(f"{end}\n", start)
    return text[:start] + "".join(f"{line}\n" for line in lines) + text[stop:]


if __name__ == "__main__":
    for file, text in render().items():
        file.write_text(text, encoding="utf-8")
        print(f"written: {file}")
