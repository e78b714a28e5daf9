"""The keys of JSON that commands print are public: docs/compatibility.md says for how long.

The list in `json_keys.json` is of real output. A key that is missing was removed or renamed, which
needs a new minor version and a line in CHANGELOG.md. A new key belongs into the list.
"""

from __future__ import annotations

import json
from pathlib import Path

from kfgcp_command import Command

KEYS = Path(__file__).with_name("json_keys.json")
# The keys of these objects are names that users choose.
FREE_NAMES = {"artifacts", "envs", "inputs", "labels", "metadata", "outputs", "params", "images"}
PIPELINE = """
from kfp import dsl


@dsl.component
def train(rows: int, model: dsl.Output[dsl.Model], metrics: dsl.Output[dsl.Metrics]) -> float:
    with open(model.path, "w") as file:
        file.write("model")
    if rows < 0:
        raise ValueError(f"{rows} rows")
    metrics.log_metric("accuracy", 1 / rows)
    return 1 / rows


@dsl.pipeline(name="train")
def pipeline(rows: int = 4) -> float:
    return train(rows=rows).outputs["Output"]
"""
COMMANDS = {
    "compile": ("compile", "p.py", "--json"),
    "run": ("run", "p.py", "--json", "--name", "four"),
    "list": ("list", "--json"),
    "show": ("show", "four", "--json"),
    "show of a failed run": ("show", "negative", "--json"),
    "events": ("events", "four", "--json"),
    "compare": ("compare", "four", "five", "--json"),
    "diff": ("diff", "p.py", "q.py", "--json"),
    "push": ("push", "p.py", "--tag", "v1", "--json"),
    "version list": ("version", "list", "--json"),
    "version show": ("version", "show", "train@v1", "--json"),
    "check": ("check", "p.py", "--json"),
    "dry run": ("run", "p.py", "--dry-run", "--json"),
    "doctor": ("doctor", "--json"),
    "logs": ("logs", "four", "--json"),
    "tag": ("tag", "four", "good", "--json"),
    "export": ("export", "--format", "json"),
}


def key_paths(value: object, path: str = "") -> set[str]:
    """Return where keys are: `tasks[].name`, and `params.*` for names that users choose."""
    if isinstance(value, list):
        paths: set[str] = set()
        for item in value:
            paths |= key_paths(item, f"{path}[]")
        return paths
    if not isinstance(value, dict):
        return set()
    paths = set()
    is_free = path.rpartition(".")[2] in FREE_NAMES
    for key, item in value.items():
        name = "*" if is_free or "." in key else key
        inner = f"{path}.{name}" if path else name
        paths |= {inner} | key_paths(item, inner)
    return paths


def documents(text: str) -> list[object]:
    """Return the JSON of an output: one document, or one on each line."""
    try:
        return [json.loads(text)]
    except json.JSONDecodeError:
        return [json.loads(line) for line in text.splitlines()]


def test_the_keys_are_those_of_the_list(kfgcp: Command, home: Path) -> None:
    (home / "p.py").write_text(PIPELINE)
    (home / "q.py").write_text(PIPELINE.replace("rows: int = 4", "rows: int = 5"))
    printed = {}
    for rows, name in ((5, "five"), (-1, "negative")):
        kfgcp("run", "p.py", "-p", f"rows={rows}", "--name", name)
    order = ["run", *(command for command in COMMANDS if command != "run")]
    for command in order:
        result = kfgcp(*COMMANDS[command])
        paths: set[str] = set()
        for document in documents(result.out):
            paths |= key_paths(document)
        printed[command] = sorted(paths)

    assert printed == json.loads(KEYS.read_text())
