"""Write rules.md: every rule of `kfgcp check`, with its message, its hint and its source.

`make reference` runs it, and a test compares the result with the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from kfgcp.backends.registry import BUILT_IN, plugin_of
from kfgcp.rules.general import general_rules
from kfgcp.rules.rule import Rule
from kfgcp.rules.versions import format_version

FILE: Final = Path(__file__).with_name("rules.md")

_TOP: Final = """# The rules of kfgcp check

Written by `make reference` from the rules; change them there. The guide is
[Check a pipeline before it runs](../guides/check.md).

| severity | meaning |
| --- | --- |
| error | The pipeline does not run there, or not to its end. |
| warning | It runs, but something is ignored or has another result. |
| note | Good to know. `kfgcp run` does not show it. |
| not judged | The rule cannot know. Every rule can have this result. |
"""

# The families that are true everywhere.
_GENERAL_TITLES: Final = {
    "S": "The pipeline itself",
    "P": "Portability",
    "R": "Reproducibility",
    "Y": "Safety",
}
_BACKEND_TITLES: Final = {
    "local": "Runs on this machine",
    "vertex": "Vertex AI",
    "kubeflow": "Kubeflow Pipelines",
}
_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")


def render() -> str:
    """Return the page as Markdown."""
    parts = [_TOP]
    for family, title in _GENERAL_TITLES.items():
        rules = [rule for rule in general_rules() if rule.family == family]
        parts.append(_format_section(title, family, rules))
    for backend in BUILT_IN:
        rules_of_backend = plugin_of(backend).rules
        if rules_of_backend is not None:
            rules = list(rules_of_backend())
            family = ", ".join(sorted({rule.family for rule in rules}))
            parts.append(_format_section(_BACKEND_TITLES[backend], family, rules))
    return "\n".join(parts)


def _format_section(title: str, family: str, rules: Iterable[Rule]) -> str:
    lines = [
        f"## {title}: {family}",
        "",
        "| rule | severity | finding and hint | source |",
        "| --- | --- | --- | --- |",
    ]
    lines += [_format_row(rule) for rule in rules]
    return "\n".join(lines) + "\n"


def _format_row(rule: Rule) -> str:
    severity = str(rule.severity)
    versions = _describe_versions(rule)
    if versions:
        severity = f"{severity}, {versions}"
    message = _format_text(rule.message)
    if rule.hint:
        message = f"{message}. *{_format_text(rule.hint)}*"
    return f"| {rule.id} | {severity} | {message} | {_format_text(rule.source)} |"


def _describe_versions(rule: Rule) -> str:
    words = []
    if rule.since is not None:
        words.append(f"since {format_version(rule.since)}")
    if rule.fixed_in is not None:
        words.append(f"before {format_version(rule.fixed_in)}")
    return " and ".join(words)


def _format_text(text: str) -> str:
    """Return a text of a rule for a cell of a table: `{task}` becomes TASK."""
    named = _PLACEHOLDER.sub(lambda match: match[1].upper(), text)
    plain_braces = named.replace("{{", "{").replace("}}", "}")
    return re.sub(r"([|*_<>\[\]])", r"\\\1", plain_braces)


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
    print(f"written: {FILE}")
