"""Read the files of Terraform as plain values, for the rules and the generated tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

# The number of labels of each kind of block (Terraform language, "Blocks").
LABEL_COUNTS: Final = {
    "variable": 1,
    "output": 1,
    "resource": 2,
    "data": 2,
    "module": 1,
    "locals": 0,
    "terraform": 0,
}


@dataclass(frozen=True, slots=True)
class Block:
    """A block at the top level of a file.

    Attributes:
        kind: the first word of the block, such as `resource`.
        labels: the type and the name of a resource or of data, the name of other blocks.
        body: the attributes of the block, and lists of its nested blocks. Expressions are texts.
        file: the file that contains the block.
    """

    kind: str
    labels: tuple[str, ...]
    body: Mapping[str, Any]
    file: Path

    @property
    def name(self) -> str:
        """The labels with a dot between them, as other blocks refer to it."""
        return ".".join(self.labels)


def read_blocks(folder: Path) -> list[Block]:
    """Return the blocks in the files `*.tf` of a folder, in the order of files and lines."""
    blocks = []
    for file in sorted(folder.glob("*.tf")):
        blocks += _parse(file.read_text(encoding="utf-8"), file)
    return blocks


def parse_blocks(text: str) -> list[Block]:
    """Return the blocks of a text, as if it were a file."""
    return _parse(text, Path("main.tf"))


def select_kind(blocks: Sequence[Block], kind: str) -> list[Block]:
    """Return the blocks of one kind."""
    return [block for block in blocks if block.kind == kind]


def nested_texts(value: object) -> Iterator[str]:
    """Yield every text in a value of any depth.

    Example:
        >>> list(nested_texts({"a": ["x", {"b": "y"}], "c": 1}))
        ['x', 'y']
    """
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from nested_texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from nested_texts(item)


def _parse(text: str, file: Path) -> list[Block]:
    import hcl2
    from hcl2 import SerializationOptions

    options = SerializationOptions(
        with_comments=False, explicit_blocks=False, strip_string_quotes=True
    )
    blocks = []
    for kind, bodies in hcl2.loads(text, serialization_options=options).items():
        for body in bodies:
            labels = []
            # Each label of a block is a dictionary with one key around the body.
            for _ in range(LABEL_COUNTS.get(kind, 0)):
                ((label, body),) = body.items()
                labels.append(label.strip('"'))
            blocks.append(Block(kind, tuple(labels), body, file))
    return blocks
