"""Terraform's files as plain values: what the rules and the generated tables look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

KINDS: Final = {
    "variable": 1,
    "output": 1,
    "resource": 2,
    "data": 2,
    "module": 1,
    "locals": 0,
    "terraform": 0,
}
"""Kind of a block -> how many labels it has."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block at the top level of a file. labels: type and name of a resource, the name of
    others."""

    kind: str
    labels: tuple[str, ...]
    body: Mapping[str, Any]
    file: Path

    @property
    def name(self) -> str:
        return ".".join(self.labels)


def blocks(folder: Path) -> list[Block]:
    """The blocks in the files `*.tf` of a folder, in the order of files and lines."""
    return [
        block
        for file in sorted(folder.glob("*.tf"))
        for block in _of_text(file.read_text(encoding="utf-8"), file)
    ]


def blocks_of_text(text: str) -> list[Block]:
    """The blocks of a text, as if it were a file."""
    return list(_of_text(text, Path("main.tf")))


def of_kind(found: list[Block], kind: str) -> list[Block]:
    return [block for block in found if block.kind == kind]


def values(value: Any) -> Iterator[str]:
    """Every text in a value, at whatever depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from values(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from values(inner)


def _of_text(text: str, file: Path) -> Iterator[Block]:
    import hcl2
    from hcl2 import SerializationOptions

    options = SerializationOptions(
        with_comments=False, explicit_blocks=False, strip_string_quotes=True
    )
    for kind, found in hcl2.loads(text, serialization_options=options).items():
        for block in found:
            labels: list[str] = []
            for _ in range(KINDS.get(kind, 0)):
                ((label, block),) = block.items()
                labels.append(label.strip('"'))
            yield Block(kind, tuple(labels), block, file)
