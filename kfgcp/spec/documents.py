"""Read text files as plain JSON values. Errors name the line of the problem.

A file has one JSON value or any number of YAML documents. The values hold only mappings with text
keys, lists, text, finite numbers, booleans and null, nested at most `MAX_DEPTH` deep. YAML dates
are read as text. Anything else in the file (two equal keys, aliases that multiply, a nesting that
would exhaust the stack) is an error that names the line.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kfgcp.errors import KfgcpError, SpecError
from kfgcp.spec.json_values import MAX_DEPTH, NotJsonError, Place, check_json, format_place

if TYPE_CHECKING:
    import yaml

# A limit of our own, far above the size of real specs.
MAX_BYTES: Final = 64 * 2**20

# The message of libyaml from 1,000 levels on, in PyYAML 6.0.4 and later. libyaml reads ahead to see
# whether a collection is a key, so this error comes before its events tell the depth.
LIBYAML_TOO_DEEP: Final = "exceeded maximum nesting depth"

# A text with fewer opening brackets and less indentation (characters) than these limits cannot nest
# so deep that the C stack overflows.
_SUSPICIOUS_OPENINGS: Final = 1000
_SUSPICIOUS_INDENT: Final = 400

# An opening bracket or brace of YAML's flow style, where a value can begin.
_FLOW_OPENING: Final = re.compile(r"(?:^|(?<=[\s\[{,:]))[\[{]")

# More columns than any line has.
_WHOLE_LINE: Final = 10**9

_DATE_TAG: Final = "tag:yaml.org,2002:timestamp"


def read_text(path: Path, error: type[KfgcpError] = SpecError) -> str:
    """Return the text of a UTF-8 file of at most 64 MiB.

    Args:
        path: the file.
        error: the type of errors to raise.

    Raises:
        KfgcpError: of type `error`: the file cannot be read, is too big, or is not text.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise error(f"{path} is larger than {MAX_BYTES // 2**20} MiB.")
        content = path.read_bytes()
    except OSError as problem:
        raise error(f"{path} cannot be read: {problem.strerror or problem}.") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise error(f"{path} is not a text file in UTF-8.") from None
    # A NUL character is valid UTF-8, but only binary files and UTF-16 have one.
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
    """Return the documents of a text as plain values, without empty documents at its end.

    Args:
        text: YAML, or JSON when `as_json`.
        origin: the name of the text in messages.
        as_json: whether to read it as JSON.
        error: the type of errors to raise.
        by_hand: whether a person wrote the YAML. Then scalars follow the rules of YAML 1.2: `1e-3`
            is a number, `no` and `12:30` are text. Otherwise they are read as PyYAML writes them.
            Dates are text in either case.

    Raises:
        KfgcpError: of type `error`: the text is not valid, or holds a value that JSON cannot carry.

    Example:
        >>> parse_documents("rate: 1e-3\\nanswer: no", "params.yaml", as_json=False, by_hand=True)
        [{'rate': 0.001, 'answer': 'no'}]
    """
    if as_json:
        documents = _parse_json_document(text, origin, error)
    else:
        documents = _parse_yaml(text, origin, error, by_hand)
    while documents and documents[-1] is None:
        documents.pop()
    for number, document in enumerate(documents):
        try:
            # YAML aliases may repeat a value. A document that is much larger than its text is taken
            # for an attack.
            check_json(document, budget=4 * len(text) + 1_000_000)
        except NotJsonError as problem:
            line = find_line(text, number, problem.place)
            where = f"{origin}:{line}" if line else origin
            field = f"{format_place(problem.place)} " if problem.place else ""
            raise error(f"{where}: {field}{problem.problem}.") from None
    return documents


def parse_json(text: str) -> Any:
    """Return the value of a JSON text.

    Unlike `json.loads`, refuse NaN and Infinity, which are not in RFC 8259, and repeated keys.

    Raises:
        ValueError: the text is not JSON, repeats a key or nests too deep.

    Example:
        >>> parse_json('{"rate": 0.1}')
        {'rate': 0.1}
        >>> parse_json('{"rate": 0.1, "rate": 0.2}')
        Traceback (most recent call last):
        ...
        ValueError: it has the key 'rate' twice
    """
    try:
        return json.loads(text, object_pairs_hook=_refuse_repeated_keys, parse_constant=_refuse_nan)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def find_line(text: str, document: int, place: Place) -> int | None:
    """Return the line of the value at a place, or of its nearest parent.

    Args:
        text: YAML or JSON, which YAML contains.
        document: the index of the document in the text.
        place: where the value is in the document.

    Returns:
        The line from 1, None when the text cannot be read again.

    Example:
        >>> find_line("root:\\n  dag: {}\\n", 0, ("root", "dag"))
        2
    """
    import yaml

    try:
        node = list(yaml.compose_all(text, _loader_class(by_hand=False)))[document]
    except (yaml.YAMLError, IndexError, RecursionError):
        return None
    if node is None:
        return None
    line: int = node.start_mark.line
    for step in place:
        child = _find_child(node, step)
        if child is None:
            break
        node, line = child
    return line + 1


def value_lines(text: str, document: int, depth: int) -> dict[tuple[str, ...], int]:
    """Return the lines of all values in mappings, by the keys that lead to them.

    Args:
        text: YAML or JSON, which YAML contains.
        document: the index of the document in the text.
        depth: the largest number of keys that lead to a value.

    Returns:
        Lines from 1. Empty when the text cannot be read again.

    Example:
        >>> value_lines("root:\\n  dag: {tasks: {}}\\n", 0, depth=2)
        {('root',): 1, ('root', 'dag'): 2}
    """
    import yaml

    try:
        node = list(yaml.compose_all(text, _loader_class(by_hand=False)))[document]
    except (yaml.YAMLError, IndexError, RecursionError):
        return {}
    lines: dict[tuple[str, ...], int] = {}
    _add_value_lines(lines, node, (), depth)
    return lines


def find_text(text: str, place: tuple[str, ...]) -> tuple[str, int] | None:
    """Return the text at a place of the first YAML document, and its line from 1; None without it.

    Example:
        >>> find_text("# A component.\\nname: Train\\n", ("name",))
        ('Train', 2)
    """
    import yaml

    try:
        node = next(iter(yaml.compose_all(text, _loader_class(by_hand=False))), None)
    except (yaml.YAMLError, RecursionError):
        return None
    line = 0
    for step in place:
        child = _find_child(node, step) if node is not None else None
        if child is None:
            return None
        node, line = child
    return (node.value, line + 1) if isinstance(node, yaml.ScalarNode) else None


def scalar_ends(text: str) -> dict[int, int]:
    """Return how far each line belongs to a YAML scalar, for those that end or begin a line.

    What follows on the line may be a comment.

    Args:
        text: YAML.

    Returns:
        The columns after the last scalar of lines, by the lines from 1. A line that ends within a
        scalar has its whole length or more. Empty when the text cannot be read again.

    Example:
        >>> scalar_ends("run: |\\n  # a\\nnext: '# c' # d\\n")
        {1: 3, 2: 1000000000, 3: 11}
    """
    import yaml

    ends: dict[int, int] = {}
    try:
        for event in yaml.parse(text, _loader_class(by_hand=False)):
            start, end = event.start_mark, event.end_mark
            if not isinstance(event, yaml.ScalarEvent) or start is None or end is None:
                continue
            first_line = start.line + 1
            last_line = end.line + 1
            # A comment may follow the `|` of a block scalar.
            is_block = event.style in ("|", ">")
            for line in range(first_line + is_block, last_line):
                ends[line] = _WHOLE_LINE
            # A block scalar ends at the start of a line, where nothing of it is.
            if end.column > 0:
                ends[last_line] = end.column
    except (yaml.YAMLError, RecursionError):
        return {}
    return ends


def _add_value_lines(
    lines: dict[tuple[str, ...], int], node: yaml.Node | None, place: tuple[str, ...], depth: int
) -> None:
    import yaml

    if depth == 0 or not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        inner_place = place + (str(key.value),)
        lines[inner_place] = key.start_mark.line + 1
        _add_value_lines(lines, value, inner_place, depth - 1)


# -- JSON


def _parse_json_document(text: str, origin: str, error: type[KfgcpError]) -> list[Any]:
    if not text.strip():
        return []
    try:
        return [parse_json(text)]
    except json.JSONDecodeError as problem:
        where = f"{origin}:{problem.lineno}:{problem.colno}"
        raise error(f"{where}: not valid JSON: {problem.msg}.") from None
    except ValueError as problem:
        raise error(f"{origin}: kfgcp cannot use this JSON: {problem}.") from None


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) == len(pairs):
        return mapping
    keys: set[str] = set()
    for key, _ in pairs:
        if key in keys:
            raise ValueError(f"it has the key {key!r} twice")
        keys.add(key)
    return mapping


def _refuse_nan(name: str) -> Any:
    raise ValueError(f"JSON has no number {name}")


# -- YAML


def _parse_yaml(text: str, origin: str, error: type[KfgcpError], by_hand: bool) -> list[Any]:
    import yaml

    try:
        _check_nesting(text)
        return list(yaml.load_all(text, _loader_class(by_hand)))
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
    # PyYAML lets int("") and similar errors through for scalars with an explicit tag.
    except Exception as problem:
        raise error(
            f"{origin}: not valid YAML: a value does not match its tag ({problem})."
        ) from None


def _check_nesting(text: str) -> None:
    """Raise NotJsonError when the loader would overflow the C stack.

    The loader recurses without a limit. The events of the parser tell the exact depth, but take as
    much time as loading. So this function uses them only for texts that look deep.
    """
    import yaml

    if not _looks_deep(text):
        return
    depth = 0
    for event in yaml.parse(text, _loader_class(by_hand=False)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise NotJsonError((), "is nested too deeply")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _looks_deep(text: str) -> bool:
    """Return whether a text has enough marks that open a level to nest too deep."""
    openings = sum(1 for _ in _FLOW_OPENING.finditer(text))
    if openings >= _SUSPICIOUS_OPENINGS:
        return True
    for line in text.splitlines():
        if len(line) <= _SUSPICIOUS_INDENT:
            continue
        # In block style, indentation opens levels, and so do `- - - a` and `? ? ? a` in one line.
        block_marks = line.count("-") + line.count("?")
        if line.startswith(" " * _SUSPICIOUS_INDENT) or block_marks > _SUSPICIOUS_INDENT:
            return True
    return False


@cache
def _loader_class(by_hand: bool) -> Any:
    """Return a safe loader of PyYAML that refuses equal keys and reads dates as text."""
    import yaml

    # The loader in C is much faster, but not every build of PyYAML has it.
    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        """The loader."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            """Return a mapping, after a check of its keys."""
            if isinstance(node, yaml.MappingNode):
                _refuse_equal_keys(node)
            return super().construct_mapping(node, deep)

    all_resolvers = _yaml_1_2_resolvers() if by_hand else base.yaml_implicit_resolvers
    resolvers = {}
    for character, rules in all_resolvers.items():
        resolvers[character] = [rule for rule in rules if rule[0] != _DATE_TAG]
    Loader.yaml_implicit_resolvers = resolvers
    return Loader


def _yaml_1_2_resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """Return the rules for plain scalars of YAML 1.2 (core schema), by their first character.

    PyYAML follows YAML 1.1, where `no` is false, `12:30` is 750 and `1e-3` is text. Octal and
    hexadecimal numbers of the core schema are left out, so `0x10` is text.
    """
    rules = (
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
    )
    resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for tag, pattern, first_characters in rules:
        resolver = (f"tag:yaml.org,2002:{tag}", re.compile(rf"^(?:{pattern})$"))
        for character in first_characters:
            resolvers.setdefault(character, []).append(resolver)
    return resolvers


def _refuse_equal_keys(node: Any) -> None:
    """Raise a YAML error when a mapping node has a key twice. PyYAML takes the last one."""
    from yaml.constructor import ConstructorError

    keys: set[str] = set()
    for key, _ in node.value:
        # Keys that are not text are refused later, by `check_json`.
        if not isinstance(key.value, str):
            continue
        if key.value in keys:
            problem = f"it has the key {key.value!r} twice"
            raise ConstructorError(None, None, problem, key.start_mark)
        keys.add(key.value)


def _find_child(node: Any, step: str | int) -> tuple[Any, int] | None:
    """Return the child node of a YAML node, and the line of its key."""
    if isinstance(step, int) and node.id == "sequence" and step < len(node.value):
        child = node.value[step]
        return child, child.start_mark.line
    if isinstance(step, str) and node.id == "mapping":
        for key, value in node.value:
            if key.value == step:
                return value, key.start_mark.line
    return None
