"""The generated reference is the one that the code would generate now."""

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_reference", ROOT / "docs" / "reference" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_command_line_reference_is_up_to_date() -> None:
    written = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")

    assert written == _generator().render(), "write it anew: make docs"


def test_it_has_a_section_with_an_example_for_every_verb() -> None:
    from kfgcp.cli.main import VERBS

    text = _generator().render()

    for verb in VERBS:
        assert f"Example: kfgcp {verb}" in text.partition(f"## kfgcp {verb}\n")[2].partition("\n## ")[0], verb
