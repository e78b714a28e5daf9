"""Text files as plain JSON values: the YAML documents or the JSON value of a file, with the place
of what is wrong.

What comes out holds nothing but mappings with text keys, lists, text, finite numbers, booleans and
null, nested at most `MAX_DEPTH` deep. Anything else in the file (two equal keys, dates given as
such, aliases that multiply, a nesting made to exhaust the stack) is an error that names the line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from kfgcp.errors import KfgcpError, SpecError
from kfgcp.spec.json_values import MAX_DEPTH, NotJsonError, Place, check_json, format_place

MAX_BYTES = 64 * 2**20
# What libyaml says from 1000 levels on, since the one in PyYAML 6.0.4. It reads ahead to see
# whether a collection is a key, so it says this before its events have told the depth.
LIBYAML_TOO_DEEP = "exceeded maximum nesting depth"


def read_text(path: Path, error: type[KfgcpError] = SpecError) -> str:
    """The text of a UTF-8 file of at most 64 MiB.

    Raises:
        KfgcpError: of type `error`: the file cannot be read, is too big, or is not text.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise error(f"{path} is larger than {MAX_BYTES // 2**20} MiB.")
        data = path.read_bytes()
    except OSError as problem:
        raise error(f"{path} cannot be read: {problem.strerror or problem}.") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise error(f"{path} is not a text file in UTF-8.")
    return text


def parse_documents(
    text: str,
    origin: str,
    *,
    as_json: bool,
    error: type[KfgcpError] = SpecError,
    by_hand: bool = False,
) -> list[Any]:
    """The documents of a text as plain values; documents that are empty at its end are left out.

    Args:
        text: YAML, or JSON when `as_json`.
        origin: what messages call the text.
        as_json: whether to read it as JSON.
        error: the type of errors to raise.
        by_hand: read YAML scalars as a person means them, by the rules of YAML 1.2: `1e-3` is a
            number, `no` and `12:30` are text. Otherwise as PyYAML wrote them. Dates are text in
            either case.

    Raises:
        KfgcpError: of type `error`.
    """
    documents = (
        _parse_json(text, origin, error) if as_json else _parse_yaml(text, origin, error, by_hand)
    )
    while documents and documents[-1] is None:
        documents.pop()
    for number, document in enumerate(documents):
        try:
            check_json(document, budget=4 * len(text) + 1_000_000)
        except NotJsonError as unfit:
            line = find_line(text, number, unfit.place)
            where = f"{origin}:{line}" if line else origin
            what = f"{format_place(unfit.place)} " if unfit.place else ""
            raise error(f"{where}: {what}{unfit.problem}.") from None
    return documents


def parse_json(text: str) -> Any:
    """The value of a JSON text, without the NaN and Infinity that Python would let pass.

    Raises:
        ValueError: the text is not JSON, repeats a key or nests too deep.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("it nests too deep") from None


def find_line(text: str, document: int, place: Place) -> int | None:
    """The line (from 1) of the value at a place, or of its nearest parent; None when it cannot be
    told."""
    import yaml

    try:
        node = list(yaml.compose_all(text, _loader(False)))[document]
    except (yaml.YAMLError, IndexError, RecursionError):
        return None
    if node is None:
        return None
    line: int = node.start_mark.line
    for step in place:
        child = _child(node, step)
        if child is None:
            break
        node, line = child
    return line + 1


def _parse_json(text: str, origin: str, error: type[KfgcpError]) -> list[Any]:
    if not text.strip():
        return []
    try:
        return [parse_json(text)]
    except json.JSONDecodeError as problem:
        what = f"{origin}:{problem.lineno}:{problem.colno}: not valid JSON: {problem.msg}."
        raise error(what) from None
    except ValueError as problem:
        raise error(f"{origin}: not usable JSON: {problem}.") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r} is given twice")
    return mapping


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number that JSON can carry")


def _parse_yaml(text: str, origin: str, error: type[KfgcpError], by_hand: bool) -> list[Any]:
    import yaml

    try:
        _check_nesting(text)
        return list(yaml.load_all(text, _loader(by_hand)))
    except yaml.MarkedYAMLError as problem:
        if problem.problem == LIBYAML_TOO_DEEP:
            raise error(f"{origin}: nests deeper than {MAX_DEPTH} levels.") from None
        mark = problem.problem_mark or problem.context_mark
        where = f"{origin}:{mark.line + 1}:{mark.column + 1}" if mark else origin
        raise error(f"{where}: not valid YAML: {problem.problem or problem.context}.") from None
    except yaml.reader.ReaderError as problem:
        raise error(
            f"{origin}: not valid YAML: {problem.reason} at character {problem.position}."
        ) from None
    except (NotJsonError, RecursionError):
        raise error(f"{origin}: nests deeper than {MAX_DEPTH} levels.") from None
    except Exception as problem:
        # PyYAML lets int("") and the like through for scalars with a forced tag.
        raise error(
            f"{origin}: not valid YAML: a value does not fit its tag ({problem})."
        ) from None


def _check_nesting(text: str) -> None:
    """Refuses nesting that would overflow the C stack of the loader, which recurses without a
    limit.

    The events of the parser tell the depth for certain; they are asked only when the text could
    nest deep at all.
    """
    import yaml

    if sum(1 for _ in re.finditer(r"(?:^|(?<=[\s\[{,:]))[\[{]", text)) < 1000 and not any(
        _steep(text)
    ):
        return
    depth = 0
    for event in yaml.parse(text, _loader(False)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise NotJsonError((), "nests too deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _steep(text: str) -> Iterator[bool]:
    """Lines that are indented far, or hold many of the marks that open a level of block style."""
    for line in text.splitlines():
        if len(line) > 400:
            yield line.startswith(" " * 400) or line.count("-") + line.count("?") > 400


@cache
def _loader(by_hand: bool) -> Any:
    """A safe loader, the C one where there is one, that refuses equal keys and knows no dates."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            if isinstance(node, yaml.MappingNode):
                _refuse_equal_keys(node)
            return super().construct_mapping(node, deep)

    resolvers = _rules_of_yaml_1_2() if by_hand else base.yaml_implicit_resolvers
    dates = "tag:yaml.org,2002:timestamp"
    Loader.yaml_implicit_resolvers = {
        first: [(tag, regexp) for tag, regexp in rules if tag != dates]
        for first, rules in resolvers.items()
    }
    return Loader


def _rules_of_yaml_1_2() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    rules: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for tag, pattern, first in (
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
        # No leading zero: PyYAML would read 010 as octal.
        ("int", r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
        (
            "float",
            r"[-+]?(?:(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)",
            list("-+.0123456789"),
        ),
        ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", list("-+.")),
        ("merge", r"<<", ["<"]),
    ):
        for character in first:
            rule = (f"tag:yaml.org,2002:{tag}", re.compile(rf"^(?:{pattern})$"))
            rules.setdefault(character, []).append(rule)
    return rules


def _refuse_equal_keys(node: Any) -> None:
    from yaml.constructor import ConstructorError

    keys = [key.value for key, _ in node.value if isinstance(key.value, str)]
    if len(set(keys)) == len(keys):
        return
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key.value, str):
            continue
        if key.value in seen:
            raise ConstructorError(
                None, None, f"the key {key.value!r} is given twice", key.start_mark
            )
        seen.add(key.value)


def _child(node: Any, step: str | int) -> tuple[Any, int] | None:
    """The child node of a YAML node, and the line of its key."""
    if isinstance(step, int) and node.id == "sequence" and step < len(node.value):
        return node.value[step], node.value[step].start_mark.line
    if isinstance(step, str) and node.id == "mapping":
        for key, value in node.value:
            if key.value == step:
                return value, key.start_mark.line
    return None
