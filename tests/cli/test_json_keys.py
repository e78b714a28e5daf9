"""The keys of JSON that commands print are public: docs/compatibility.md says for how long.

The list in `json_keys.json` is of real output. A key that is missing was removed or renamed, which
needs a new minor version and a line in CHANGELOG.md. A new key belongs into the list.
"""

from __future__ import annotations

import json
from pathlib import Path

from kfgcp.testing import VertexStandIn
from kfgcp_command import Command

KEYS = Path(__file__).with_name("json_keys.json")
# The keys of these objects are names that users choose.
FREE_NAMES = {"artifacts", "envs", "inputs", "labels", "metadata", "outputs", "params", "images"}
# The properties of a schedule have names of their service.
FREE_NAMES |= {"fields"}
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

TABLES = """
[pipeline.train]
source = "p.py"
envs = ["dev"]

[schedule.daily]
pipeline = "train"
env = "dev"
cron = "0 6 * * *"
"""
RANGE = ("--from", "2026-03-01", "--to", "2026-03-03")
# Each needs what those before it have written.
SCHEDULE_COMMANDS = {
    "plan": ("plan", "--env", "dev", "--json"),
    "apply": ("apply", "--env", "dev", "--yes", "--json"),
    "schedule list": ("schedule", "list", "--json"),
    "schedule show": ("schedule", "show", "daily", "--json"),
    "schedule pause": ("schedule", "pause", "daily", "--json"),
    "schedule resume": ("schedule", "resume", "daily", "--json"),
    "schedule run": ("schedule", "run", "daily", "--json"),
    "schedule backfill": ("schedule", "backfill", "daily", *RANGE, "--dry-run", "--json"),
    "schedule tick": ("schedule", "tick", "--json"),
    "destroy": ("destroy", "--env", "dev", "--yes", "--json"),
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
        printed[command] = printed_keys(kfgcp(*COMMANDS[command]).out)

    assert printed == {command: listed_keys()[command] for command in COMMANDS}


def test_the_keys_of_plans_and_schedules_are_those_of_the_list(
    kfgcp: Command, home: Path, service: VertexStandIn
) -> None:
    (home / "p.py").write_text(PIPELINE)
    environments = '[project]\nname = "shop"\n' + service.toml("dev")
    (home / "kfgcp.toml").write_text(environments + TABLES)
    printed = {}
    for command, arguments in SCHEDULE_COMMANDS.items():
        result = kfgcp(*arguments)
        assert result.code == 0, result.err
        printed[command] = printed_keys(result.out)
        if command == "schedule resume":
            # A schedule on this machine begins, and is a result of `tick`.
            here = TABLES[TABLES.index("[schedule") :].replace("daily", "here")
            here = here.replace('"dev"', '"local"')
            (home / "kfgcp.toml").write_text(environments + TABLES + here)

    assert printed == {command: listed_keys()[command] for command in SCHEDULE_COMMANDS}


def test_the_list_has_only_commands_that_are_compared() -> None:
    assert listed_keys().keys() == COMMANDS.keys() | SCHEDULE_COMMANDS.keys()


def printed_keys(text: str) -> list[str]:
    paths: set[str] = set()
    for document in documents(text):
        paths |= key_paths(document)
    return sorted(paths)


def listed_keys() -> dict[str, list[str]]:
    keys: dict[str, list[str]] = json.loads(KEYS.read_text())
    return keys
