"""Find the calls and `with` statements in a pipeline's function that make its tasks and groups.

KFP runs the function. It names each task after its component, in the order of the calls: the second
task of `train` is `train-2` (Pipeline.add_task in kfp/dsl/pipeline_context.py). All groups share
one counter, in the order in which they are entered (kfp/dsl/tasks_group.py). This module follows
the statements in the same order. It repeats a loop of Python when the number of its turns is
written in the file. Otherwise, it goes through the loop once.
"""

from __future__ import annotations

import ast
import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from kfgcp.spec.source_groups import GROUP_KINDS, Groups, parse_group
from kfgcp.spec.source_lines import Location, without_number
from kfgcp.spec.source_python import Function, Module, Program, called_name

# Limits against programs that make very many tasks. What comes after is not found.
_MAX_TURNS: Final = 1000
_MAX_STEPS: Final = 20_000
_MAX_HELPERS: Final = 10


@dataclass(frozen=True, slots=True)
class Call:
    """A call that may make a task.

    Attributes:
        location: where the name of the called function is written.
        methods: the lines of the methods that are called on its result, by their names.
        target: the function, or the name of a component whose code is not known.
    """

    location: Location
    methods: Mapping[str, int]
    target: Function | str

    @property
    def key(self) -> str:
        """The name of its component."""
        return self.target if isinstance(self.target, str) else self.target.key


class PipelineBody:
    """The tasks and groups that a pipeline's function makes.

    Args:
        function: the function of the pipeline.
        program: the files that it may call functions of.
    """

    def __init__(self, function: Function, program: Program) -> None:
        walk = _Walk(program)
        # When the statements nest too deep, what comes before them counts.
        with suppress(RecursionError):
            walk.enter_function(function)
        self._calls_by_key = walk.calls_by_key
        self._unknown_calls = _group_unknown(walk.calls)
        self._call_by_task = _name_tasks(walk.calls)
        self._groups = walk.groups.by_kind()

    def find_call(self, key: str) -> Call | None:
        """Return the call that makes a task; the last one with its name when there are too few."""
        if key in self._call_by_task:
            return self._call_by_task[key]
        calls = self._calls_by_key.get(without_number(key))
        if calls:
            return calls[-1]
        if len(self._unknown_calls) == 1 and parse_group(key) is None:
            # Only one component has a name that is not known, so this must be it.
            (unknown_calls,) = self._unknown_calls
            return _name_tasks(unknown_calls, without_number(key)).get(key)
        return None

    def find_group(self, key: str, keys_of_kind: Sequence[str]) -> Location | None:
        """Return the line of a group.

        Args:
            key: the name of the group.
            keys_of_kind: the names of all groups of its kind in the pipeline, in the order of their
                numbers.
        """
        kind = parse_group(key)
        groups = self._groups.get(kind[0], []) if kind is not None else []
        if not groups or key not in keys_of_kind:
            return None
        index = keys_of_kind.index(key)
        if len(keys_of_kind) != len(groups) and len(groups) > 1:
            # The function enters a group more or less often than it is written, in a loop or after
            # an `if`. So the order does not tell which one it is.
            return None
        return groups[min(index, len(groups) - 1)].location


def _group_unknown(calls: Iterable[Call]) -> list[list[Call]]:
    """Return the calls of components whose names are not known, a list for each component."""
    groups: dict[Location, list[Call]] = {}
    for call in calls:
        if isinstance(call.target, Function) and not call.key:
            groups.setdefault(call.target.location, []).append(call)
    return list(groups.values())


def _name_tasks(calls: Iterable[Call], unknown_name: str = "") -> dict[str, Call]:
    """Return the calls by the names of their tasks, as KFP makes the names unique.

    Args:
        calls: the calls in their order.
        unknown_name: the name of components whose names are not known.
    """
    tasks: dict[str, Call] = {}
    numbers: dict[str, int] = {}
    for call in calls:
        key = call.key or unknown_name
        if key in tasks:
            number = numbers.get(key, 2)
            while f"{key}-{number}" in tasks:
                number += 1
            numbers[key] = number + 1
            key = f"{key}-{number}"
        tasks[key] = call
    return tasks


# -- statements


@dataclass(frozen=True, slots=True)
class _Scope:
    """A function whose statements are followed.

    Attributes:
        module: the file of the function.
        methods: for the calls in it, the lines of the methods of their results.
        assigned: the calls whose results a variable holds.
    """

    module: Module
    methods: Mapping[ast.Call, Mapping[str, int]]
    assigned: Mapping[str, _Assignments]


class _Walk:
    """Follows the statements of functions, and collects calls and groups.

    Args:
        program: the files that functions are looked up in.
    """

    def __init__(self, program: Program) -> None:
        self.calls: list[Call] = []
        self.calls_by_key: dict[str, list[Call]] = {}
        self.groups = Groups()
        self._program = program
        self._scopes: list[_Scope] = []
        self._functions: list[Function] = []
        self._steps = 0

    def enter_function(self, function: Function) -> None:
        """Follow the statements of a function. A function that calls itself is followed once."""
        if function.node is None or function in self._functions:
            return
        if len(self._functions) >= _MAX_HELPERS:
            return
        self._functions.append(function)
        self._scopes.append(_read_scope(function.node, function.module))
        self._follow(function.node.body)
        self._scopes.pop()
        self._functions.pop()

    def _follow(self, statements: Iterable[ast.stmt]) -> None:
        for statement in statements:
            self._steps += 1
            if self._steps > _MAX_STEPS:
                return
            self._follow_one(statement)

    def _follow_one(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            # The definition runs nothing. A call of the function follows its statements.
            return
        if isinstance(statement, ast.With | ast.AsyncWith):
            self._follow_with(statement)
            return
        if isinstance(statement, ast.If):
            self._follow_branches(statement)
            return
        bodies = _bodies(statement)
        self._add_calls(_expressions(statement))
        turns = 1
        if isinstance(statement, ast.For | ast.AsyncFor):
            turns = _turns(statement.iter)
        for body in bodies:
            # Only the body of a loop is repeated, not its `else`.
            is_repeated = body is bodies[0]
            for _ in range(turns if is_repeated else 1):
                self._follow(body)

    def _follow_branches(self, statement: ast.If) -> None:
        """Follow all branches. Each `elif` is an `if` in the `else` of the one before."""
        branch = statement
        while True:
            self._add_calls([branch.test])
            self._follow(branch.body)
            if len(branch.orelse) != 1 or not isinstance(branch.orelse[0], ast.If):
                break
            branch = branch.orelse[0]
        self._follow(branch.orelse)

    def _follow_with(self, statement: ast.With | ast.AsyncWith) -> None:
        entered: list[str] = []
        for item in statement.items:
            self._add_calls([item.context_expr])
            keyword = self._group_keyword(item.context_expr)
            if keyword:
                scope = self._scopes[-1]
                self.groups.enter(keyword, Location(scope.module.file, item.context_expr.lineno))
                entered.append(keyword)
        self._follow(statement.body)
        for keyword in reversed(entered):
            self.groups.leave(keyword)

    def _group_keyword(self, expression: ast.expr) -> str:
        """Return the class of kfp.dsl that a `with` enters, "" when it enters something else."""
        scope = self._scopes[-1]
        if isinstance(expression, ast.Name):
            assignments = scope.assigned.get(expression.id)
            call = assignments.before(expression.lineno) if assignments else None
        else:
            call = expression if isinstance(expression, ast.Call) else None
        if call is None:
            return ""
        name = called_name(call.func)
        if isinstance(call.func, ast.Name):
            name = scope.module.imports.get(name, ("", name))[1] or name
        return name if name in GROUP_KINDS else ""

    def _add_calls(self, expressions: Iterable[ast.expr]) -> None:
        for expression in expressions:
            for call in _ordered_calls(expression):
                self._add_call(call)

    def _add_call(self, node: ast.Call) -> None:
        self._steps += 1
        if self._steps > _MAX_STEPS:
            return
        scope = self._scopes[-1]
        target = self._program.resolve(node.func, scope.module)
        if isinstance(target, Function) and not target.is_component:
            # A helper of the user may make tasks. A decorator of the user may make a component.
            self.enter_function(target)
            if target.node is None or not target.node.decorator_list:
                return
        location = Location(scope.module.file, node.func.end_lineno or node.lineno)
        call = Call(location, scope.methods.get(node, {}), target)
        self.calls.append(call)
        self.calls_by_key.setdefault(call.key, []).append(call)


def _bodies(statement: ast.stmt) -> list[list[ast.stmt]]:
    """Return the lists of statements in a statement, in the order in which they run."""
    bodies: list[list[ast.stmt]] = []
    if isinstance(statement, ast.Match):
        return [case.body for case in statement.cases]
    for name in ("body", "orelse", "finalbody"):
        body = getattr(statement, name, None)
        if body:
            bodies.append(body)
    handlers = getattr(statement, "handlers", ())
    return bodies + [handler.body for handler in handlers]


def _expressions(statement: ast.stmt) -> Iterator[ast.expr]:
    """Yield the expressions that belong to a statement itself, not to the statements in it."""
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, ast.expr):
            yield child


def _ordered_calls(expression: ast.expr) -> list[ast.Call]:
    """Return the calls in an expression in the order in which Python runs them."""
    calls: list[ast.Call] = []
    repeated: list[tuple[ast.expr, int]] = []
    for node in ast.walk(expression):
        if isinstance(node, ast.Call):
            calls.append(node)
        elif isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp):
            turns = 1
            for generator in node.generators:
                turns *= _turns(generator.iter)
            element = node.value if isinstance(node, ast.DictComp) else node.elt
            if turns > 1:
                repeated.append((element, min(turns, _MAX_TURNS)))
    # Python calls a function after its arguments, so in the order of the ends of the calls.
    calls.sort(key=_end)
    for element, turns in repeated:
        in_element = [call for call in calls if _contains(element, call)]
        if in_element:
            after = calls.index(in_element[-1]) + 1
            calls[after:after] = in_element * (turns - 1)
    return calls


def _end(node: ast.expr) -> tuple[int, int]:
    return (node.end_lineno or 0, node.end_col_offset or 0)


def _contains(outer: ast.expr, inner: ast.expr) -> bool:
    starts_before = (outer.lineno, outer.col_offset) <= (inner.lineno, inner.col_offset)
    return starts_before and _end(inner) <= _end(outer)


def _turns(iterable: ast.expr) -> int:
    """Return how often a loop over something runs, 1 when the file does not tell."""
    if isinstance(iterable, ast.List | ast.Tuple | ast.Set):
        has_star = any(isinstance(element, ast.Starred) for element in iterable.elts)
        return 1 if has_star else min(len(iterable.elts), _MAX_TURNS)
    if not isinstance(iterable, ast.Call) or called_name(iterable.func) != "range":
        return 1
    limits = []
    for argument in iterable.args:
        if not isinstance(argument, ast.Constant) or not isinstance(argument.value, int):
            return 1
        limits.append(argument.value)
    try:
        return min(len(range(*limits)), _MAX_TURNS)
    # `range()` without a limit, or with the step 0; or with more turns than a machine word.
    except (TypeError, ValueError, OverflowError):
        return 1


# -- variables


@dataclass(slots=True)
class _Assignments:
    """The calls that are assigned to a variable, by the lines where the assignments end."""

    lines: list[int] = field(default_factory=list)
    calls: list[ast.Call] = field(default_factory=list)

    def before(self, line: int) -> ast.Call | None:
        """Return the call whose result the variable holds in a line."""
        index = bisect.bisect_left(self.lines, line)
        return self.calls[index - 1] if index > 0 else None


def _read_scope(function: ast.FunctionDef | ast.AsyncFunctionDef, module: Module) -> _Scope:
    nodes = list(ast.walk(function))
    assigned = _assigned_calls(nodes)
    methods: dict[ast.Call, dict[str, int]] = {}
    for node in nodes:
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        maker = _maker_of(node, assigned)
        if maker is not None:
            # A chain over several lines: the method is written where its name ends.
            line = node.func.end_lineno or node.lineno
            lines = methods.setdefault(maker, {})
            lines[node.func.attr] = min(line, lines.get(node.func.attr, line))
    return _Scope(module, methods, assigned)


def _assigned_calls(nodes: Iterable[ast.AST]) -> dict[str, _Assignments]:
    """Return the calls whose results variables hold, by the names of the variables."""
    pairs: list[tuple[int, str, ast.Call]] = []
    for node in nodes:
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr):
            targets = [node.target]
        else:
            continue
        if not isinstance(node.value, ast.Call):
            continue
        for target in targets:
            if isinstance(target, ast.Name):
                pair = (node.end_lineno or 0, target.id, _innermost_call(node.value))
                pairs.append(pair)
    assigned: dict[str, _Assignments] = {}
    for line, name, call in sorted(pairs, key=lambda pair: pair[0]):
        assignments = assigned.setdefault(name, _Assignments())
        assignments.lines.append(line)
        assignments.calls.append(call)
    return assigned


def _innermost_call(call: ast.Call) -> ast.Call:
    """Return the first call of a chain: that of `train` in `train(x=1).set_retry(3)`."""
    while isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Call):
        call = call.func.value
    return call


def _maker_of(call: ast.Call, assigned: Mapping[str, _Assignments]) -> ast.Call | None:
    """Return the call that made the task whose method another call is, None when it is not one."""
    innermost = _innermost_call(call)
    if not isinstance(innermost.func, ast.Attribute):
        return innermost if innermost is not call else None
    variable = innermost.func.value
    if isinstance(variable, ast.Name) and variable.id in assigned:
        return assigned[variable.id].before(innermost.lineno)
    # `components.train(x=1).set_retry(3)`: `components` is a module.
    return innermost if innermost is not call else None
