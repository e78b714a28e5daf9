"""Writes kfgcp/option_keywords.py from the fields of RunOptions. Run by `make reference`; a test
compares."""

from __future__ import annotations

import json
import typing
from pathlib import Path
from typing import Any

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
    types = {field.name: _optional(field.annotation) for field in option_fields()}
    lines = [f"    {name}: {text}\n" for name, text in types.items()]
    return HEAD + _imports("".join(types.values())) + CLASS + "".join(lines)


def _imports(used: str) -> str:
    mapping = "from collections.abc import Mapping\n" if "Mapping[" in used else ""
    literal = "Literal, " if "Literal[" in used else ""
    return f"{mapping}from typing import {literal}TypedDict\n"


def _optional(annotation: Any) -> str:
    text = _text(annotation)
    return text if text.endswith("None") else f"{text} | None"


def _text(annotation: Any) -> str:
    """Return a type as it is written in a program."""
    if typing.get_origin(annotation) is typing.Literal:
        choices = ", ".join(json.dumps(choice) for choice in typing.get_args(annotation))
        return f"Literal[{choices}]"
    if typing.get_origin(annotation) is None:
        return str(annotation.__name__)
    return str(annotation).replace("collections.abc.", "")


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
    print(f"written: {FILE}")
