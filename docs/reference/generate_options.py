"""Write kfgcp/option_keywords.py from the fields of RunOptions.

`make reference` runs it, and a test compares the result with the file.
"""

from __future__ import annotations

import json
import typing
from pathlib import Path

from kfgcp.options import option_fields

FILE = Path(__file__).parents[2] / "kfgcp" / "option_keywords.py"
HEAD = '''"""The fields of `RunOptions` as keywords, for type checkers.

Written by `make reference`: change `RunOptions` instead. Python cannot derive a TypedDict from a
dataclass.
"""

from __future__ import annotations

'''
CLASS = '''

class OptionKeywords(TypedDict, total=False):
    """The options of a run as keywords, see `RunOptions`. None: the option is not given."""

'''


def render() -> str:
    """Return the text of the module."""
    lines = [
        f"    {field.name}: {_format_optional(field.annotation)}\n" for field in option_fields()
    ]
    fields = "".join(lines)
    return HEAD + _format_imports(fields) + CLASS + fields


def _format_imports(fields: str) -> str:
    """Return the imports of the types that the fields use."""
    mapping = "from collections.abc import Mapping\n" if "Mapping[" in fields else ""
    literal = "Literal, " if "Literal[" in fields else ""
    return f"{mapping}from typing import {literal}TypedDict\n"


def _format_optional(annotation: object) -> str:
    text = _format_type(annotation)
    return text if text.endswith("None") else f"{text} | None"


def _format_type(annotation: object) -> str:
    """Return a type as it is written in a program."""
    if typing.get_origin(annotation) is typing.Literal:
        choices = ", ".join(json.dumps(choice) for choice in typing.get_args(annotation))
        return f"Literal[{choices}]"
    if isinstance(annotation, type):
        return annotation.__name__
    return str(annotation).replace("collections.abc.", "")


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
    print(f"written: {FILE}")
