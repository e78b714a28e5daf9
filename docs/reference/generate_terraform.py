"""Write the generated parts of the documents about terraform/.

    python docs/reference/generate_terraform.py

These are the tables and examples of the modules, who may do what, and what is proven. Each part is
between `<!-- generated: NAME -->` and `<!-- end -->`. The rest is written by hand.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from terraform_offline.hcl import Block, read_blocks, select_kind  # noqa: E402

MODULES = ROOT / "terraform" / "modules"
LIVE_HEADING = "## What only a live project can show"

# How a module is proven in addition to the runs of `terraform test`, which all modules have.
OTHER_PROOFS = {
    "environment": "its outputs are imported into kfgcp.toml",
    "gke-kubeflow": (
        "the overlay is rendered over upstream's names, the scripts run against a stand-in of"
        " gcloud"
    ),
    "identities": "the tables of who may do what are generated from it",
    "scheduler": "its request is run by the stand-in of Vertex AI",
}


def main() -> None:
    """Write all documents."""
    for file, text in documents().items():
        file.write_text(text, encoding="utf-8")


def documents() -> dict[Path, str]:
    """Return the text that each file would have if it were generated now."""
    texts = {}
    for module in modules():
        file = module / "README.md"
        texts[file] = _replace_parts(file, {"example": example(module), "tables": tables(module)})
    security = ROOT / "docs" / "guides" / "security.md"
    texts[security] = _replace_parts(
        security, {"accounts": accounts(), "people": people(), "roles": custom_roles()}
    )
    readme = ROOT / "terraform" / "README.md"
    texts[readme] = _replace_parts(readme, {"proofs": proofs()})
    return texts


def modules() -> list[Path]:
    """Return the folders of the modules."""
    return sorted(file.parent for file in MODULES.glob("*/main.tf"))


def example(module: Path) -> str:
    """Return the example of a module."""
    text = (module / "examples" / "basic" / "main.tf").read_text(encoding="utf-8").strip()
    return f"A test runs it (`examples/basic`).\n\n```hcl\n{text}\n```"


def tables(module: Path) -> str:
    """Return the variables and the outputs of a module, and the types of its resources."""
    blocks = read_blocks(module)
    variables = []
    for block in _required_first(select_kind(blocks, "variable")):
        description = block.body["description"]
        variables.append(
            [f"`{block.name}`", _short_type(block), _format_default(block), description]
        )
    output_blocks = select_kind(blocks, "output")
    outputs = [[f"`{block.name}`", block.body["description"]] for block in output_blocks]
    types = {f"`{block.labels[0]}`" for block in select_kind(blocks, "resource")}
    resources = "Makes nothing by itself."
    if types:
        resources = f"Makes: {', '.join(sorted(types))}."
    parts = [
        _format_table(["variable", "type", "default", "what it is"], variables),
        _format_table(["output", "what it is"], outputs),
        resources,
    ]
    return "\n\n".join(parts)


def _required_first(variables: Iterable[Block]) -> list[Block]:
    return sorted(variables, key=lambda block: "default" in block.body)


def _short_type(block: Block) -> str:
    """Return the type of a variable. The description says what is in an object."""
    text = str(block.body["type"]).removeprefix("${").removesuffix("}")
    for begin in ("map(map(object", "map(object", "object"):
        if text.startswith(f"{begin}("):
            return f"`{begin}{')' * begin.count('(')}`"
    return f"`{text}`"


def _format_default(block: Block) -> str:
    if "default" not in block.body:
        return "required"
    value = block.body["default"]
    if value in ([], {}):
        return "empty"
    if value is None:
        return "`null`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`"


def accounts() -> str:
    """Return the table of the service accounts: what each is for, and what it may do."""
    rows = []
    for name, account in _read_roles()["accounts"].items():
        shown_name = "`runner-TEAM`" if name == "runner" else f"`{name}`"
        pods = _format_list(account["pods"])
        rows.append([shown_name, account["purpose"], *_format_rights(account), pods])
    columns = [
        "service account",
        "for",
        "in the project",
        "on what other modules make",
        "acts as",
        "pods",
    ]
    return _format_table(columns, rows)


def people() -> str:
    """Return the table of the groups of people: what each may do."""
    rows = []
    for name, group in _read_roles()["people"].items():
        rows.append([name, group["purpose"], *_format_rights(group)])
    columns = ["who", "for", "in the project", "on what other modules make", "acts as"]
    return _format_table(columns, rows)


def custom_roles() -> str:
    """Return the table of the roles that the modules define."""
    rows = []
    for name, role in _read_roles()["custom_roles"].items():
        rows.append([f"`{name}`", role["title"], _format_list(role["permissions"])])
    return _format_table(["role", "is for", "permissions"], rows)


def _read_roles() -> Mapping[str, Any]:
    """Return the locals of the module identities that contain all roles."""
    local_blocks = select_kind(read_blocks(MODULES / "identities"), "locals")
    (body,) = [block.body for block in local_blocks if "accounts" in block.body]
    return body


def _format_rights(account: Mapping[str, Any]) -> list[str]:
    """Return the cells: roles in the project, roles on other things, whom it acts as."""
    targets = account["on"].items()
    on_targets = "; ".join(f"{target}: {_format_list(roles)}" for target, roles in targets)
    acts_as = ""
    if account["acts_as"]:
        is_of_team = "artifacts/TEAM" in account["on"] and account.get("part") is None
        acts_as = "the runner of the team" if is_of_team else "every runner"
    return [_format_list(account["project"]), on_targets, acts_as]


def proofs() -> str:
    """Return the table of how each module is proven, and what only a live project can show."""
    rows = []
    for module in modules():
        run_count = 0
        for file in module.glob("tests/*.tftest.hcl"):
            run_count += len(re.findall(r"^run ", file.read_text(encoding="utf-8"), re.MULTILINE))
        proven = f"{run_count} runs of `terraform test`"
        if module.name in OTHER_PROOFS:
            proven += f"; {OTHER_PROOFS[module.name]}"
        readme = (module / "README.md").read_text(encoding="utf-8")
        live = readme.partition(f"{LIVE_HEADING}\n")[2]
        rows.append([f"[{module.name}](modules/{module.name}/README.md)", proven, live])
    return _format_table(["module", "proven", "only a live project can show"], rows)


def _format_list(roles: Iterable[str]) -> str:
    return ", ".join(f"`{role.removeprefix('roles/')}`" for role in roles)


def _format_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = []
    for row in [columns, ["---"] * len(columns), *rows]:
        text = " | ".join(_format_cell(cell) for cell in row)
        lines.append(f"| {text} |")
    return "\n".join(lines)


def _format_cell(text: str) -> str:
    """Return a text in one line, which a cell of a Markdown table needs."""
    return " ".join(text.split()).replace("|", "\\|")


def _replace_parts(file: Path, parts: Mapping[str, str]) -> str:
    """Return the text of a file with new generated parts."""
    text = file.read_text(encoding="utf-8")
    for name, part in parts.items():
        begin = f"<!-- generated: {name} -->\n"
        before, marker, rest = text.partition(begin)
        if not marker:
            raise SystemExit(f"{file} has no place for {name}")
        after = rest.partition("<!-- end -->")[2]
        text = f"{before}{begin}{part}\n<!-- end -->{after}"
    return text


if __name__ == "__main__":
    main()
