"""Which files a module is made of, the copy that Terraform works on, and which providers and types
they name."""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from terraform_offline.cache import WHEELS

ALWAYS: Final = ("google", "google-beta")
NOT_COPIED: Final = (
    ".git",
    ".terraform",
    ".terraform.lock.hcl",
    "*.tfstate",
    "*.tfstate.*",
    "__pycache__",
)
TEST_FILES: Final = ("*.tftest.hcl", "*.tftest.json", "*.tfmock.hcl", "*.tfmock.json")

LOCAL_SOURCE: Final = re.compile(r'\bsource"?\s*[=:]\s*"(\.\.?/[^"$]*)"')
PROVIDER_SOURCE: Final = re.compile(r'"hashicorp/([a-z-]+)"')
DECLARED_TYPE: Final = re.compile(r'\b(?:resource|data)\s+"([a-z0-9]+_\w+)"')
WORD: Final = re.compile(r"\b[a-z0-9]+(?:_[a-z0-9]+)+\b")


def local_modules(module: Path) -> list[Path]:
    """`module`, and every local module that it calls, directly or not, or runs in its tests."""
    found: list[Path] = []
    waiting = [module]
    while waiting:
        folder = waiting.pop()
        if folder in found or not folder.is_dir():
            continue
        found.append(folder)
        for text in texts([folder]):
            waiting += [(folder / source).resolve() for source in LOCAL_SOURCE.findall(text)]
    return found


def texts(modules: list[Path]) -> Iterator[str]:
    """What is in the configuration of `modules`, and in the test and mock files at or below
    them."""
    for module in modules:
        files = {*module.glob("*.tf"), *module.glob("*.tf.json")}
        for pattern in TEST_FILES:
            files.update(module.rglob(pattern))
        for file in sorted(files):
            yield file.read_text(encoding="utf-8", errors="replace")


def providers_named(text: str) -> set[str]:
    """The providers that we have a wheel for and `text` uses, by source or by the prefix of a
    type."""
    prefixes = {type_name.partition("_")[0] for type_name in DECLARED_TYPE.findall(text)}
    return {*ALWAYS, *WHEELS.keys() & {*PROVIDER_SOURCE.findall(text), *prefixes}}


def schema_of_used_types(schemas: Mapping[str, Path], text: str) -> dict[str, Any]:
    """The schemas of the types that `text` names, and of those that a mistyped name may have
    meant."""
    words = set(WORD.findall(text))
    declared = set(DECLARED_TYPE.findall(text))
    used: dict[str, Any] = {"provider_versions": {}, "provider_schemas": {}}
    for provider in sorted(schemas):
        whole = json.loads(schemas[provider].read_text(encoding="utf-8"))
        used["provider_versions"] |= whole["provider_versions"]
        for address, schema in whole["provider_schemas"].items():
            known = schema["resource_schemas"].keys() | schema["data_source_schemas"].keys()
            served = words & known
            for unknown in declared - known:
                if unknown.startswith(provider.partition("-")[0]):
                    served.update(difflib.get_close_matches(unknown, known, 1))
            for kind in ("resource_schemas", "data_source_schemas"):
                schema[kind] = {
                    name: found for name, found in schema[kind].items() if name in served
                }
            used["provider_schemas"][address] = schema
    return used


def copy_tree(module: Path, modules: list[Path], destination: Path) -> Path:
    """Copies what the module may read to `destination`; returns where the module lies there.

    That is the nearest folder above it named terraform, else the module and those it calls. What
    lies beside it, up to the root of the repository, is linked, so that `file("../../x")` finds its
    file; Terraform writes only in the copy.
    """
    above = [module, *module.parents]
    repository = next((folder for folder in above if (folder / ".git").exists()), None)
    inside = above[: above.index(repository) + 1] if repository else above
    named = next((folder for folder in inside if folder.name == "terraform"), None)
    copied = [named] if named else modules
    top = Path(os.path.commonpath(copied))
    root = repository if repository and top.is_relative_to(repository) else top.parent
    for folder in copied:
        if not any(folder.is_relative_to(other) for other in copied if other != folder):
            ignore = shutil.ignore_patterns(*NOT_COPIED)
            shutil.copytree(
                folder, destination / folder.relative_to(root), symlinks=True, ignore=ignore
            )
    _link_what_lies_beside(copied, root, destination)
    copy = destination / module.relative_to(root)
    copy.chmod(copy.stat().st_mode | 0o700)
    return copy


def _link_what_lies_beside(copied: list[Path], root: Path, destination: Path) -> None:
    on_the_way = {
        folder for path in copied for folder in path.parents if folder.is_relative_to(root)
    }
    for folder in on_the_way:
        if any(folder.is_relative_to(other) for other in copied):
            continue
        for entry in folder.iterdir():
            if entry not in on_the_way and entry not in copied and entry.name not in NOT_COPIED:
                (destination / entry.relative_to(root)).symlink_to(entry)
