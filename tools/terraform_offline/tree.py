"""Find the files of a module, copy them for Terraform, and find the providers that they use."""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from terraform_offline.cache import WHEELS

# Nearly every module uses these two, and a provider that is not used does no harm.
ALWAYS_SERVED: Final = ("google", "google-beta")

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


def find_local_modules(module: Path) -> list[Path]:
    """Return a module and every local module that it uses, directly or not, also in its tests."""
    modules: list[Path] = []
    queue = [module]
    while queue:
        folder = queue.pop()
        if folder in modules or not folder.is_dir():
            continue
        modules.append(folder)
        for text in read_texts([folder]):
            queue += [(folder / source).resolve() for source in LOCAL_SOURCE.findall(text)]
    return modules


def read_texts(modules: Sequence[Path]) -> Iterator[str]:
    """Yield the text of each file of some modules: configuration, tests and mocks."""
    for module in modules:
        files = {*module.glob("*.tf"), *module.glob("*.tf.json")}
        for pattern in TEST_FILES:
            files.update(module.rglob(pattern))
        for file in sorted(files):
            yield file.read_text(encoding="utf-8", errors="replace")


def find_providers(text: str) -> set[str]:
    """Return the providers with a wheel that a text uses, by a source or by the prefix of a type.

    Example:
        >>> sorted(find_providers('resource "random_id" "suffix" {}'))
        ['google', 'google-beta', 'random']
    """
    names = set(PROVIDER_SOURCE.findall(text))
    for type_name in DECLARED_TYPE.findall(text):
        names.add(type_name.partition("_")[0])
    return set(ALWAYS_SERVED) | (names & WHEELS.keys())


def select_schemas(files: Mapping[str, Path], text: str) -> dict[str, Any]:
    """Return the schemas of the types that a text uses.

    For a declared type that does not exist, the result also has the type with the most similar
    name, because Terraform suggests this type in its error.

    Args:
        files: the file with the whole schema of each provider.
        text: the files of all modules.

    Returns:
        The format of `terraform providers schema -json`, with `provider_versions`.
    """
    words = set(WORD.findall(text))
    declared = set(DECLARED_TYPE.findall(text))
    selected: dict[str, Any] = {"provider_versions": {}, "provider_schemas": {}}
    for provider in sorted(files):
        document = json.loads(files[provider].read_text(encoding="utf-8"))
        selected["provider_versions"] |= document["provider_versions"]
        for address, schema in document["provider_schemas"].items():
            existing = schema["resource_schemas"].keys() | schema["data_source_schemas"].keys()
            served = words & existing
            for unknown in declared - existing:
                if unknown.startswith(provider.partition("-")[0]):
                    served.update(difflib.get_close_matches(unknown, existing, 1))
            for section in ("resource_schemas", "data_source_schemas"):
                # The order of the file is kept, so that equal modules get equal schemas.
                types = schema[section]
                schema[section] = {name: types[name] for name in types if name in served}
            selected["provider_schemas"][address] = schema
    return selected


def copy_tree(module: Path, modules: Sequence[Path], destination: Path) -> Path:
    """Copy the files that a module may read, and return the path of the module in the copy.

    The function copies the nearest folder above the module with the name terraform. Without such a
    folder, it copies the module and the modules that it uses. It links all other files up to the
    root of the repository, so that `file("../../x")` finds its file. Terraform writes only into the
    copy.

    Args:
        module: the folder of the module.
        modules: the module and all that it uses.
        destination: a folder that does not exist yet.
    """
    repository = _find_parent(module, lambda folder: (folder / ".git").exists())
    terraform = _find_parent(module, lambda folder: folder.name == "terraform")
    if repository and terraform and not terraform.is_relative_to(repository):
        terraform = None
    copied = [terraform] if terraform else list(modules)
    top = Path(os.path.commonpath(copied))
    root = repository if repository and top.is_relative_to(repository) else top.parent
    for folder in copied:
        if _is_below_another(folder, copied):
            continue
        shutil.copytree(
            folder,
            destination / folder.relative_to(root),
            symlinks=True,
            ignore=shutil.ignore_patterns(*NOT_COPIED),
        )
    _link_siblings(copied, root, destination)
    copy = destination / module.relative_to(root)
    # Terraform writes into the folder of the module, which may be read-only in a checkout.
    copy.chmod(copy.stat().st_mode | 0o700)
    return copy


def _find_parent(folder: Path, condition: Callable[[Path], bool]) -> Path | None:
    """Return the nearest folder that meets a condition: the folder itself, or one above it."""
    for candidate in (folder, *folder.parents):
        if condition(candidate):
            return candidate
    return None


def _is_below_another(folder: Path, folders: Sequence[Path]) -> bool:
    return any(folder.is_relative_to(other) for other in folders if other != folder)


def _link_siblings(copied: Sequence[Path], root: Path, destination: Path) -> None:
    """Link what is beside the copied folders, and beside each parent of them up to the root."""
    parents: set[Path] = set()
    for path in copied:
        parents.update(folder for folder in path.parents if folder.is_relative_to(root))
    for folder in parents:
        if any(folder.is_relative_to(other) for other in copied):
            continue
        for entry in folder.iterdir():
            if entry not in parents and entry not in copied and entry.name not in NOT_COPIED:
                (destination / entry.relative_to(root)).symlink_to(entry)
