"""Writes the generated parts of terraform's documents: tables and examples of modules, who may do
what, what is proven.

    python docs/reference/generate_terraform.py

Each part lies between `<!-- generated: NAME -->` and `<!-- end -->`; the rest is written by hand.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from terraform_offline.hcl import Block, read_blocks, select_kind  # noqa: E402

MODULES = ROOT / "terraform" / "modules"
LIVE = "## What only a live project can show"
BEYOND = {
    "environment": "what it puts out is imported into kfgcp.toml",
    "gke-kubeflow": (
        "the overlay is rendered over upstream's names, the scripts run against a stand-in of"
        " gcloud"
    ),
    "identities": "the tables of who may do what are generated from it",
    "scheduler": "its request is run by the stand-in of Vertex AI",
}
"""What is proven of a module beyond the checks that all have."""


def documents() -> dict[Path, str]:
    """File -> what it would be if it were generated now."""
    made: dict[Path, dict[str, Callable[[], str]]] = {
        module / "README.md": {
            "example": partial(example, module),
            "tables": partial(tables, module),
        }
        for module in modules()
    }
    made[ROOT / "docs" / "guides" / "security.md"] = {
        "accounts": accounts,
        "people": people,
        "roles": custom_roles,
    }
    made[ROOT / "terraform" / "README.md"] = {"proofs": proofs}
    return {file: _filled(file, parts) for file, parts in made.items()}


def modules() -> list[Path]:
    return sorted(file.parent for file in MODULES.glob("*/main.tf"))


def example(module: Path) -> str:
    text = (module / "examples" / "basic" / "main.tf").read_text(encoding="utf-8").strip()
    return f"A test runs it (`examples/basic`).\n\n```hcl\n{text}\n```"


def tables(module: Path) -> str:
    """Variables, outputs, and the types of what is made."""
    found = read_blocks(module)
    taken = [
        [f"`{each.name}`", _type(each), _default(each), each.body["description"]]
        for each in _named(found)
    ]
    given = [[f"`{each.name}`", each.body["description"]] for each in select_kind(found, "output")]
    makes = sorted({f"`{block.labels[0]}`" for block in select_kind(found, "resource")})
    parts = [
        _table(["variable", "type", "default", "what it is"], taken),
        _table(["output", "what it is"], given),
        f"Makes: {', '.join(makes)}." if makes else "Makes nothing by itself.",
    ]
    return "\n\n".join(parts)


def accounts() -> str:
    """Service account -> what it is for, and all that it may do."""
    rows = []
    for name, account in _roles()["accounts"].items():
        shown = "`runner-TEAM`" if name == "runner" else f"`{name}`"
        rows.append([shown, account["purpose"], *_rights(account), _list(account["pods"])])
    columns = [
        "service account",
        "for",
        "in the project",
        "on what other modules make",
        "acts as",
        "pods",
    ]
    return _table(columns, rows)


def people() -> str:
    """Who of the people may do what."""
    rows = [[name, found["purpose"], *_rights(found)] for name, found in _roles()["people"].items()]
    return _table(["who", "for", "in the project", "on what other modules make", "acts as"], rows)


def custom_roles() -> str:
    found = _roles()["custom_roles"]
    return _table(
        ["role", "is for", "permissions"],
        [[f"`{name}`", each["title"], _list(each["permissions"])] for name, each in found.items()],
    )


def proofs() -> str:
    """For each module how it was proven, and what only a live project can show."""
    rows = []
    for module in modules():
        tests = "\n".join(
            file.read_text(encoding="utf-8") for file in module.glob("tests/*.tftest.hcl")
        )
        runs = len(re.findall(r"^run ", tests, re.MULTILINE))
        proven = f"{runs} runs of `terraform test`" + (
            f"; {BEYOND[module.name]}" if module.name in BEYOND else ""
        )
        live = (module / "README.md").read_text(encoding="utf-8").partition(f"{LIVE}\n")[2]
        rows.append([f"[{module.name}](modules/{module.name}/README.md)", proven, live])
    return _table(["module", "proven", "only a live project can show"], rows)


def _named(found: list[Block]) -> list[Block]:
    """Variables, those first that must be given."""
    return sorted(select_kind(found, "variable"), key=lambda block: "default" in block.body)


def _type(block: Block) -> str:
    """In short: what is in an object is said by the description."""
    text = str(block.body["type"]).removeprefix("${").removesuffix("}")
    for begin in ("map(map(object", "map(object", "object"):
        if text.startswith(f"{begin}("):
            return f"`{begin}{')' * begin.count('(')}`"
    return f"`{text}`"


def _default(block: Block) -> str:
    if "default" not in block.body:
        return "required"
    value = block.body["default"]
    if value in ([], {}):
        return "empty"
    shown = "null" if value is None else str(value).lower() if isinstance(value, bool) else value
    return f"`{shown}`"


def _roles() -> dict[str, Any]:
    (found,) = [
        block.body
        for block in select_kind(read_blocks(MODULES / "identities"), "locals")
        if "accounts" in block.body
    ]
    return dict(found)


def _rights(account: dict[str, Any]) -> list[str]:
    on = "; ".join(f"{target}: {_list(roles)}" for target, roles in account["on"].items())
    own = "artifacts/TEAM" in account["on"] and account.get("part") is None
    acting = ("the runner of the team" if own else "every runner") if account["acts_as"] else ""
    return [_list(account["project"]), on, acting]


def _list(texts: list[str]) -> str:
    return ", ".join(f"`{text.removeprefix('roles/')}`" for text in texts)


def _table(columns: list[str], rows: Iterable[list[str]]) -> str:
    return "\n".join(
        f"| {' | '.join(map(_cell, row))} |" for row in [columns, ["---"] * len(columns), *rows]
    )


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _filled(file: Path, parts: dict[str, Callable[[], str]]) -> str:
    text = file.read_text(encoding="utf-8")
    for name, make in parts.items():
        begin = f"<!-- generated: {name} -->\n"
        before, found, rest = text.partition(begin)
        if not found:
            raise SystemExit(f"{file} has no place for {name}")
        text = f"{before}{begin}{make()}\n<!-- end -->{rest.partition('<!-- end -->')[2]}"
    return text


def main() -> None:
    for file, text in documents().items():
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
