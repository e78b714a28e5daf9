"""Nothing depends on the text of a message, and nobody changes an error that somebody else may
hold.

Both rules are checked in the source, as far as the source can tell.
"""

import ast
import builtins
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import kfgcp
from kfgcp import errors

ROOT = Path(kfgcp.__file__).parents[1]
FILES = [
    file
    for folder in ("kfgcp", "dashboards", "components")
    for file in sorted((ROOT / folder).rglob("*.py"))
]
TEXTS = ("message", "hint", "reason", "explanation")
"""Attributes that hold text for people. `reason` of `Refused` is a code of Google and may be
compared as a whole."""
CODES = ("reason",)
TEXT_METHODS = ("startswith", "endswith", "removeprefix", "removesuffix", "find", "index")
EXCEPTIONS = {
    name
    for module in (builtins, errors)
    for name, kind in inspect.getmembers(module, inspect.isclass)
    if issubclass(kind, BaseException)
}


def changed_errors(tree: ast.Module) -> Iterator[str]:
    """Yield assignments to attributes of exceptions: caught ones, and those that a function
    gets."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.name:
            yield from _assignments(node, {node.name})
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            yield from _assignments(
                node, {argument.arg for argument in arguments if _is_exception(argument)}
            )


def _is_exception(argument: ast.arg) -> bool:
    if argument.annotation is None:
        return False
    return any(
        isinstance(part, ast.Name) and part.id in EXCEPTIONS
        for part in ast.walk(argument.annotation)
    )


def _assignments(scope: ast.AST, names: set[str]) -> Iterator[str]:
    for node in ast.walk(scope):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            if (
                isinstance(target, ast.Attribute)
                and isinstance(target.value, ast.Name)
                and target.value.id in names
            ):
                yield f"{node.lineno}: {ast.unparse(node)}"


def text_decisions(tree: ast.Module) -> Iterator[str]:
    """Yield comparisons of a text for people with a literal text or with a constant."""
    for node in (candidate for candidate in ast.walk(tree) if isinstance(candidate, ast.expr)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in TEXT_METHODS
        ):
            decides = _is_text(node.func.value) and any(map(_is_fixed, node.args))
        elif isinstance(node, ast.Compare):
            decides = _compares_text(node)
        else:
            decides = False
        if decides:
            yield f"{node.lineno}: {ast.unparse(node)}"


def _compares_text(node: ast.Compare) -> bool:
    left, right = node.left, node.comparators[0]
    if _is_text(left, CODES) and _is_fixed(right):
        return True
    codes = () if isinstance(node.ops[0], ast.In | ast.NotIn) else CODES
    return _is_text(right, codes) and _is_fixed(left)


def _is_text(node: ast.expr, codes: tuple[str, ...] = ()) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in TEXTS and node.attr not in codes


def _is_fixed(node: ast.expr) -> bool:
    """Return whether an expression is a text that is not empty, a constant, or a collection of
    them."""
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return any(map(_is_fixed, node.elts))
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and node.value != ""
    name = (
        node.id
        if isinstance(node, ast.Name)
        else node.attr
        if isinstance(node, ast.Attribute)
        else ""
    )
    return name.isupper()


@pytest.mark.parametrize(
    "source",
    [
        "try:\n    f()\nexcept ValueError as error:\n    error.message += '.'\n    raise",
        "try:\n    f()\nexcept ValueError as error:\n    if x:\n        error.args = ('a',)",
        "def f(refused: Refused) -> Refused:\n    refused.hint = 'a'\n    return refused",
        "def f(refused: BackendError | None) -> None:\n    refused.unknown: bool = True",
    ],
)
def test_a_changed_error_is_seen(source: str) -> None:
    assert len(list(changed_errors(ast.parse(source)))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "error.message.startswith('There is')",
        "'mask' in error.message",
        "refused.hint.startswith(ENABLE)",
        "error.message in (NO_REASON, other)",
        "refused.hint != BAD_PIPELINE_HINT",
        "cache.reason.startswith('caching is off')",
        "'off' in cache.reason",
    ],
)
def test_a_decision_by_a_text_is_seen(source: str) -> None:
    assert len(list(text_decisions(ast.parse(source)))) == 1


@pytest.mark.parametrize(
    "source", ["refused.reason == 'NOT_FOUND'", "error.message == ''", "name in error.message"]
)
def test_codes_and_other_values_may_be_compared(source: str) -> None:
    assert list(text_decisions(ast.parse(source))) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_errors_are_not_changed_after_they_were_raised(file: Path) -> None:
    assert list(changed_errors(ast.parse(file.read_text()))) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_is_decided_by_the_text_of_a_message(file: Path) -> None:
    assert list(text_decisions(ast.parse(file.read_text()))) == []
