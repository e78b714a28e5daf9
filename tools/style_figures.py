"""Count constructs that make Python code hard to read, and fail when a folder has more than before.

    python tools/style_figures.py kfgcp dashboards        # prints a table of figures
    python tools/style_figures.py path/to/site-packages/httpx
    python tools/style_figures.py --check                 # fails when a folder got worse
    python tools/style_figures.py --update                # lowers limits that are too high

The figures of the table compare code with other code, so they are numbers per 1,000 lines that are
not blank. They only show a direction. `--check` counts four kinds of constructs that an author can
always avoid: name an intermediate value, write a loop, give a type. The limits for each folder are
in `tools/style_limits.toml`.
"""

from __future__ import annotations

import argparse
import ast
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
CHECKED: Final = ("kfgcp", "dashboards", "components", "tools", "docs", "benchmarks")
LIMITS: Final = ROOT / "tools" / "style_limits.toml"

# Participles and pronouns that could name anything.
VAGUE_NAMES: Final = frozenset(
    {
        "each",
        "found",
        "given",
        "it",
        "known",
        "made",
        "opened",
        "said",
        "told",
        "wanted",
        "what",
    }
)

Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
Function = ast.FunctionDef | ast.AsyncFunctionDef

REMEDIES: Final = {
    "nested comprehensions": "Give the inner comprehension a name, or write a loop.",
    "two conditionals": "Write an if statement, or give one of the values a name.",
    "starred tuples": "Write the elements out, or add the two tuples.",
    "Any in signatures": "Name the type: a dataclass, a TypedDict, a Protocol, object.",
}


@dataclass(frozen=True)
class Place:
    """A construct that `--check` counts, and where it is."""

    kind: str
    path: Path
    line: int


@dataclass
class Figures:
    """The counts of one or more files.

    Attributes:
        lines: lines that are not blank.
        comments: lines that hold only a comment.
        bindings: names that are bound: variables, parameters, attributes of a class.
        vague: bindings whose name is one of `VAGUE_NAMES`.
        signatures: functions and methods.
        places: the constructs that `--check` counts.
    """

    lines: int = 0
    comments: int = 0
    comprehensions: int = 0
    conditionals: int = 0
    starred: int = 0
    bindings: int = 0
    vague: int = 0
    signatures: int = 0
    places: list[Place] = field(default_factory=list)

    def add(self, other: Figures) -> None:
        """Add the counts of another file."""
        self.lines += other.lines
        self.comments += other.comments
        self.comprehensions += other.comprehensions
        self.conditionals += other.conditionals
        self.starred += other.starred
        self.bindings += other.bindings
        self.vague += other.vague
        self.signatures += other.signatures
        self.places += other.places

    def count(self, kind: str) -> int:
        """Return how many places are of a kind."""
        return sum(place.kind == kind for place in self.places)

    def row(self) -> list[str]:
        """Return the cells of the table, in the order of `HEAD`."""
        per_thousand = 1000 / max(self.lines, 1)
        any_share = 100 * self.count("Any in signatures") / max(self.signatures, 1)
        return [
            f"{self.lines:,}",
            f"{self.comprehensions * per_thousand:.1f}",
            f"{self.conditionals * per_thousand:.1f}",
            f"{self.starred * per_thousand:.1f}",
            f"{self.comments * per_thousand:.1f}",
            f"{100 * self.vague / max(self.bindings, 1):.1f}",
            f"{any_share:.1f}",
        ]


HEAD: Final = [
    "",
    "lines",
    "comprehensions",
    "conditionals",
    "starred",
    "comment lines",
    "vague names %",
    "Any in signatures %",
]


def measure(path: Path) -> Figures:
    """Count one file.

    Raises:
        SyntaxError: the file is not Python of this interpreter's version.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "a.py")
        ...     size = path.write_text("# Why.\\nfound = [n for n in range(3)]\\n")
        ...     figures = measure(path)
        >>> figures.lines, figures.comments, figures.comprehensions, figures.vague
        (2, 1, 1, 1)
    """
    text = path.read_text(encoding="utf-8")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    figures = Figures(lines=len(lines), comments=sum(line.startswith("#") for line in lines))
    for node in ast.walk(ast.parse(text)):
        _count_expression(figures, node, path)
        names = list(_bound_names(node))
        figures.bindings += len(names)
        figures.vague += sum(name in VAGUE_NAMES for name in names)
        if isinstance(node, Function):
            figures.signatures += 1
            if _mentions_any(node):
                figures.places.append(Place("Any in signatures", path, node.lineno))
        if isinstance(node, ast.stmt) and _own_conditionals(node) > 1:
            figures.places.append(Place("two conditionals", path, node.lineno))
    return figures


def _count_expression(figures: Figures, node: ast.AST, path: Path) -> None:
    if isinstance(node, Comprehension):
        figures.comprehensions += 1
        if _has_inner_comprehension(node):
            figures.places.append(Place("nested comprehensions", path, node.lineno))
    elif isinstance(node, ast.IfExp):
        figures.conditionals += 1
    elif isinstance(node, ast.Starred):
        figures.starred += 1
    for starred in _starred_in_displays(node):
        figures.places.append(Place("starred tuples", path, starred.lineno))


def _has_inner_comprehension(node: ast.AST) -> bool:
    children = ast.walk(node)
    next(children)
    return any(isinstance(child, Comprehension) for child in children)


def _starred_in_displays(node: ast.AST) -> Iterator[ast.Starred]:
    """Yield `*b` in `(a, *b)` and `*("a", "b")` in a call; `*args` in a call has no remedy."""
    displays = ast.Tuple | ast.List | ast.Set
    if isinstance(node, displays) and not isinstance(getattr(node, "ctx", None), ast.Store):
        yield from (element for element in node.elts if isinstance(element, ast.Starred))
    elif isinstance(node, ast.Call):
        for argument in node.args:
            if isinstance(argument, ast.Starred) and isinstance(argument.value, displays):
                yield argument


def _own_conditionals(statement: ast.stmt) -> int:
    """Count the conditional expressions of a statement, without those of the statements in it."""
    count = 0
    pending = list(ast.iter_child_nodes(statement))
    while pending:
        node = pending.pop()
        # Lambdas have no statements, so their conditionals belong to this one.
        if not isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case):
            count += isinstance(node, ast.IfExp)
            pending += ast.iter_child_nodes(node)
    return count


def _bound_names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.arg) and node.arg not in {"self", "cls"}:
        yield node.arg
    elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
        yield node.name


def _mentions_any(function: Function) -> bool:
    arguments = function.args
    parameters = arguments.posonlyargs + arguments.args + arguments.kwonlyargs
    parameters += [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
    annotations = [parameter.annotation for parameter in parameters]
    annotations.append(function.returns)
    return any(_is_any(annotation) for annotation in annotations)


def _is_any(annotation: ast.expr | None) -> bool:
    if annotation is None:
        return False
    for node in ast.walk(annotation):
        if isinstance(node, ast.Name) and node.id == "Any":
            return True
        if isinstance(node, ast.Attribute) and node.attr == "Any":
            return True
    return False


def measure_all(paths: Iterable[Path]) -> dict[Path, Figures]:
    """Return the figures of the files below the paths, by folder, in the order of their names."""
    by_folder: dict[Path, Figures] = {}
    for path in paths:
        files = [path] if path.is_file() else sorted(path.rglob("*.py"))
        for file in files:
            by_folder.setdefault(file.parent, Figures()).add(measure(file))
    return dict(sorted(by_folder.items()))


def total(figures: Iterable[Figures]) -> Figures:
    """Return the sum of several figures."""
    result = Figures()
    for part in figures:
        result.add(part)
    return result


def worse(by_folder: Mapping[str, Figures], limits: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return a line for each place of a folder that has more of a kind than its limit.

    by_folder, limits: the keys are folders relative to the project. A folder or kind without a
    limit has the limit 0.
    """
    problems = []
    for folder, figures in by_folder.items():
        for kind, remedy in REMEDIES.items():
            limit = limits.get(folder, {}).get(kind, 0)
            count = figures.count(kind)
            if count > limit:
                problems.append(f"{folder}: {count} {kind}, the limit is {limit}. {remedy}")
                places = [place for place in figures.places if place.kind == kind]
                problems += [f"    {folder}/{place.path.name}:{place.line}" for place in places]
    return problems


def _limits_text(by_folder: Mapping[str, Figures]) -> str:
    lines = [
        "# How many hard constructs a folder may have. `make lint` fails when there are more.",
        "# Written by `python tools/style_figures.py --update`, which never raises a limit.",
    ]
    for folder, figures in by_folder.items():
        counts = Counter(place.kind for place in figures.places)
        if counts:
            lines += ["", f'["{folder}"]']
            lines += [f'"{kind}" = {counts[kind]}' for kind in REMEDIES if counts[kind]]
    return "\n".join(lines) + "\n"


def _print_table(rows: list[list[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  ".join(cells))


def main(arguments: list[str] | None = None) -> int:
    """Print the table, or check or update the limits. Return the exit status."""
    parser = argparse.ArgumentParser(description="Count what makes Python code hard to read.")
    parser.add_argument("paths", nargs="*", type=Path, help="files and folders")
    parser.add_argument("--folders", action="store_true", help="a row for each folder")
    parser.add_argument("--check", action="store_true", help="fail when a folder got worse")
    parser.add_argument("--update", action="store_true", help="lower limits that are too high")
    options = parser.parse_args(arguments)
    if not (options.check or options.update):
        rows = [HEAD]
        for path in options.paths or [ROOT / name for name in CHECKED]:
            by_folder = measure_all([path])
            rows.append([str(path)] + total(by_folder.values()).row())
            if options.folders:
                rows += [[f"  {folder}"] + part.row() for folder, part in by_folder.items()]
        _print_table(rows)
        return 0
    measured = measure_all(ROOT / name for name in CHECKED)
    by_name = {folder.relative_to(ROOT).as_posix(): part for folder, part in measured.items()}
    limits = tomllib.loads(LIMITS.read_text()) if LIMITS.exists() else None
    problems = [] if limits is None else worse(by_name, limits)
    for line in problems:
        print(line, file=sys.stderr)
    if options.update and not problems:
        LIMITS.write_text(_limits_text(by_name))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
