"""Comments that suppress rules of `kfgcp check`: `# kfgcp: V203 because the secret is public`.

Only real comments count: a text in the code may look like one, and so may a program in a compiled
file.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kfgcp.spec.documents import scalar_ends
from kfgcp.spec.source_lines import Location

# A file without this text has no such comment, and its lines are not read.
_MARK: Final = "kfgcp:"

# Words that are almost the id of a rule are read, too, so that the check can say that there is no
# such rule: `v203`, `V20`.
_COMMENT: Final = re.compile(
    r"#\s*kfgcp:\s*(?P<rules>[A-Za-z]\d{1,9}(?:\s*,\s*[A-Za-z]\d{1,9})*)\b(?P<rest>.*)"
)
_REASON: Final = re.compile(r"\s+because\s+(\S.*)")

# The breaks of lines that YAML 1.1 counts. `splitlines` of Python knows more.
_YAML_BREAK: Final = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment that suppresses rules.

    Attributes:
        rules: the ids of the rules.
        reason: the reason that it gives, empty without one.
        location: where the comment is.
        lines: the lines that it is about. A comment above a statement, or on its first or last
            line, is about the whole statement. A comment at a function is about its decorators.
    """

    rules: tuple[str, ...]
    reason: str
    location: Location
    lines: range


def has_mark(file: Path) -> bool:
    """Return whether a file may have such a comment. This is much faster than reading its code."""
    try:
        return _MARK.encode() in file.read_bytes()
    except OSError:
        return False


def read_python_comments(text: str, tree: ast.Module, file: str) -> list[Comment]:
    """Return the comments of a Python file.

    Args:
        text: the content of the file.
        tree: the parsed content.
        file: the file, for the locations.
    """
    if _MARK not in text:
        return []
    comments: list[Comment] = []
    code_lines: set[int] = set()
    candidates: list[tuple[int, str, bool]] = []
    for token in _tokens(text):
        line = token.start[0]
        if token.type == tokenize.COMMENT:
            has_code_before = bool(token.line[: token.start[1]].strip())
            candidates.append((line, token.string, has_code_before))
        elif token.type not in _LAYOUT:
            code_lines.update(range(line, token.end[0] + 1))
    statements = _statement_lines(tree)
    sorted_code_lines = sorted(code_lines)
    for line, string, has_code_before in candidates:
        target = line if has_code_before else _next_line(sorted_code_lines, line)
        lines = statements.get(target, range(target, target + 1))
        comment = _parse(string, Location(file, line), lines)
        if comment is not None:
            comments.append(comment)
    return comments


# The tokens that are not code.
_LAYOUT: Final = frozenset(
    (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
)


def _tokens(text: str) -> Iterator[tokenize.TokenInfo]:
    try:
        yield from tokenize.generate_tokens(io.StringIO(text).readline)
    # `ast` accepts some files that the tokenizer refuses. The tokens before the problem count.
    except (tokenize.TokenError, SyntaxError):
        return


def _statement_lines(tree: ast.Module) -> dict[int, range]:
    """Return the lines of statements by their first and last lines.

    The statement of a function is its head: the decorators and `def`. Other statements with a body
    have no lines here, because a comment above a loop is not about what the loop contains.
    """
    lines: dict[int, range] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            starts = [decorator.lineno for decorator in node.decorator_list]
            head = range(min(starts + [node.lineno]), node.lineno + 1)
            for line in head:
                lines[line] = head
        elif isinstance(node, ast.stmt) and not hasattr(node, "body"):
            statement = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            lines.setdefault(statement[0], statement)
            lines.setdefault(statement[-1], statement)
    return lines


def read_yaml_comments(text: str, file: str) -> list[Comment]:
    """Return the comments of a YAML file.

    Args:
        text: the content of the file.
        file: the file, for the locations.
    """
    if _MARK not in text:
        return []
    all_lines = _YAML_BREAK.split(text)
    candidates = [number for number, line in enumerate(all_lines, start=1) if _MARK in line]
    # The programs of components are texts over many lines. Their comments are not YAML's.
    text_ends = scalar_ends(text)
    code_lines = _yaml_code_lines(all_lines)
    comments = []
    for number in candidates:
        line = all_lines[number - 1]
        match = _COMMENT.search(line)
        if match is None or match.start() < text_ends.get(number, 0):
            continue
        before = line[: match.start()]
        # YAML begins a comment only at the start of a line or after a blank.
        if before and not before[-1].isspace():
            continue
        target = number if before.strip() else _next_line(code_lines, number)
        comment = _parse(match[0], Location(file, number), range(target, target + 1))
        if comment is not None:
            comments.append(comment)
    return comments


def _yaml_code_lines(lines: Sequence[str]) -> list[int]:
    numbers = []
    for number, line in enumerate(lines, start=1):
        content = line.strip()
        if content and not content.startswith("#"):
            numbers.append(number)
    return numbers


def _next_line(sorted_lines: Sequence[int], line: int) -> int:
    """Return the first line of code after a line, the line itself when no code follows."""
    import bisect

    index = bisect.bisect_right(sorted_lines, line)
    return sorted_lines[index] if index < len(sorted_lines) else line


def _parse(string: str, location: Location, lines: range) -> Comment | None:
    match = _COMMENT.search(string)
    if match is None:
        return None
    rules = tuple(rule.strip() for rule in match["rules"].split(","))
    reason = _REASON.match(match["rest"])
    return Comment(rules, reason[1].strip() if reason else "", location, lines)
