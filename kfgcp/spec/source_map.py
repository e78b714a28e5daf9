"""Where the parts of a pipeline are written: the lines of its tasks and components.

For a pipeline in Python, the files that it was compiled from are parsed, not imported. KFP names a
component after its function, and a task after its component with a number: the second call of
`train_model` is the task `train-model-2` (kfp/dsl/pipeline_context.py). A pipeline that calls a
component in a loop of Python has more tasks than calls; the last call stands for all that follow.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from kfgcp.spec.documents import value_lines
from kfgcp.spec.graph import build
from kfgcp.spec.load import Spec
from kfgcp.spec.pipeline_files import pipeline_files
from kfgcp.spec.source import display_path
from kfgcp.spec.task_contexts import walk_tasks

_NOT_IN_NAMES: Final = re.compile(r"[^a-z0-9]+")
_NUMBER: Final = re.compile(r"(.+)-(\d+)")

# The decorators of KFP that make a component of a function.
_DECORATORS: Final = frozenset({"component", "container_component", "notebook_component"})
_PIPELINE_DECORATORS: Final = frozenset({"pipeline", "graph_component"})

# The decorators that tell nothing about the name of a component, such as `functools.wraps`.
_COMMENT: Final = re.compile(
    r"#\s*kfgcp:\s*(?P<rules>[A-Z]\d{3}(?:\s*,\s*[A-Z]\d{3})*)(?P<rest>.*)"
)
_REASON: Final = re.compile(r"\s+because\s+(\S.*)")


@dataclass(frozen=True, slots=True)
class Location:
    """A line of a file.

    Attributes:
        file: its path, relative to the current folder if it is below that folder.
        line: the number of the line, from 1.
    """

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment that suppresses rules: `# kfgcp: V203 because the secret is public`.

    Attributes:
        rules: the ids of the rules.
        reason: the reason that it gives, empty without one.
        location: where the comment is.
        applies_to: the line that it is about: its own, or the first line of code after it.
    """

    rules: tuple[str, ...]
    reason: str
    location: Location
    applies_to: int


@dataclass(frozen=True, slots=True)
class _Call:
    """A call in the function of a pipeline.

    Attributes:
        line: of the function's name, where the call is written.
        methods: the lines of the methods that are called on its result, by their names.
    """

    line: int
    methods: Mapping[str, int]


@dataclass(slots=True)
class _Function:
    """The function of a component or pipeline.

    Attributes:
        location: its decorator, or `def` without one.
        calls: the calls in it by the names of their functions, in the order of execution.
    """

    location: Location
    calls: dict[str, list[_Call]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourceMap:
    """The lines of the parts of a pipeline. Every method returns None for what is not known.

    Attributes:
        pipeline: the name of the pipeline, as KFP writes it.
        comments: the comments that suppress rules.
    """

    pipeline: str
    comments: Sequence[Comment]
    _components: Mapping[str, _Function]
    _pipelines: Mapping[str, _Function]
    _lines: Mapping[tuple[str, ...], Location]

    def find_pipeline(self) -> Location | None:
        """Return the line of the pipeline itself."""
        function = self._pipelines.get(self.pipeline)
        if function is not None:
            return function.location
        return self._lines.get(("root",))

    def find_component(self, name: str) -> Location | None:
        """Return the line of a component, by its name in the spec: `comp-train-model`."""
        key = name.removeprefix("comp-")
        for name_of_function in (key, _without_number(key)):
            function = self._components.get(name_of_function)
            # A component may have the name of the pipeline that it is in.
            if function is None and name_of_function != self.pipeline:
                function = self._pipelines.get(name_of_function)
            if function is not None:
                return function.location
        return self._lines.get(("components", name))

    def find_task(self, path: str, methods: Sequence[str] = ()) -> Location | None:
        """Return the line where a task is made, or where one of its methods is called.

        Args:
            path: of the task in the spec, such as `for-loop-1/train-model-2`.
            methods: the names of methods, such as `set_retry`. The first one that is called wins.
        """
        segments = path.split("/")
        caller = self._caller(segments[:-1])
        if caller is not None:
            call = _find_call(caller.calls, segments[-1])
            if call is not None:
                called = [call.methods[name] for name in methods if name in call.methods]
                return Location(caller.location.file, called[0] if called else call.line)
        return self._lines.get(tuple(segments))

    def _caller(self, groups: Iterable[str]) -> _Function | None:
        """Return the function of the pipeline that makes the tasks of a group.

        Loops, conditions and exit handlers are written in the function of the pipeline around them.
        """
        caller = self._pipelines.get(self.pipeline)
        for group in groups:
            nested = self._pipelines.get(group) or self._pipelines.get(_without_number(group))
            caller = nested or caller
        return caller


def read_source_map(spec: Spec) -> SourceMap:
    """Return the lines of a pipeline's parts, read from the files that it was loaded from.

    A file that cannot be read or parsed any more has no lines.
    """
    components: dict[str, _Function] = {}
    pipelines: dict[str, _Function] = {}
    comments: list[Comment] = []
    lines: dict[tuple[str, ...], Location] = {}
    for file in pipeline_files(spec):
        try:
            text = file.read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError):
            continue
        name = str(display_path(file))
        comments += _read_comments(text, name)
        if file.suffix.lower() == ".py":
            _read_functions(text, name, components, pipelines)
        else:
            lines = _read_document_lines(text, name, spec)
    pipeline = sanitize(spec.name)
    if pipeline not in pipelines and len(pipelines) == 1:
        # The name of the pipeline is not a text in the file, but there is only one pipeline.
        pipelines[pipeline] = next(iter(pipelines.values()))
    return SourceMap(pipeline, comments, components, pipelines, lines)


def sanitize(name: str) -> str:
    """Return a name as KFP writes the names of components and tasks.

    Example:
        >>> sanitize("train_Model")
        'train-model'
    """
    return _NOT_IN_NAMES.sub("-", name.lower()).strip("-")


def _without_number(key: str) -> str:
    match = _NUMBER.fullmatch(key)
    return match[1] if match else key


def _find_call(calls: Mapping[str, Sequence[_Call]], key: str) -> _Call | None:
    """Return the call that made a task: the second one of `train` made `train-2`."""
    if key in calls:
        return calls[key][0]
    match = _NUMBER.fullmatch(key)
    if match is None or match[1] not in calls:
        return None
    same_name = calls[match[1]]
    return same_name[min(int(match[2]), len(same_name)) - 1]


# -- Python


def _read_functions(
    text: str,
    file: str,
    components: dict[str, _Function],
    pipelines: dict[str, _Function],
) -> None:
    """Add the functions of a Python file. Those of earlier files win."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return
    original_names = _imported_names(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef):
            continue
        decorator = _kfp_decorator(node)
        if decorator is None:
            continue
        function = _Function(Location(file, decorator.lineno))
        if _decorator_name(decorator) in _PIPELINE_DECORATORS:
            function.calls = _read_calls(node, original_names)
            pipelines.setdefault(sanitize(_given_name(decorator) or node.name), function)
        else:
            components.setdefault(sanitize(node.name), function)


def _imported_names(tree: ast.Module) -> dict[str, str]:
    """Return the names of imported functions by the names that they have here."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if alias.asname:
                    names[alias.asname] = alias.name
    return names


def _kfp_decorator(function: ast.FunctionDef) -> ast.expr | None:
    known_names = _DECORATORS | _PIPELINE_DECORATORS
    for decorator in function.decorator_list:
        if _decorator_name(decorator) in known_names:
            return decorator
    return None


def _decorator_name(decorator: ast.expr) -> str:
    """Return `component` for `@dsl.component(base_image="…")`."""
    return _called_name(decorator.func if isinstance(decorator, ast.Call) else decorator)


def _called_name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _given_name(decorator: ast.expr) -> str:
    """Return the text of `name=` in a decorator, "" when it is not a plain text."""
    if not isinstance(decorator, ast.Call):
        return ""
    for keyword in decorator.keywords:
        if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
            return str(keyword.value.value)
    return ""


def _read_calls(
    pipeline: ast.FunctionDef, original_names: Mapping[str, str]
) -> dict[str, list[_Call]]:
    """Return the calls in the function of a pipeline, by the sanitized names of the functions."""
    found_calls = [node for node in ast.walk(pipeline) if isinstance(node, ast.Call)]
    # Python calls a function after its arguments, so in the order of the ends of the calls.
    found_calls.sort(key=lambda call: (call.end_lineno or 0, call.end_col_offset or 0))
    variables = _assigned_calls(pipeline)
    methods: dict[ast.Call, dict[str, int]] = {}
    for call in found_calls:
        maker = _maker_of(call, variables)
        if maker is not None and isinstance(call.func, ast.Attribute):
            # A chain over several lines: the method is written where its name ends.
            line = call.func.end_lineno or call.lineno
            methods.setdefault(maker, {}).setdefault(call.func.attr, line)
    calls: dict[str, list[_Call]] = {}
    for call in found_calls:
        name = _called_name(call.func)
        key = sanitize(original_names.get(name, name))
        if key:
            line = call.func.end_lineno or call.lineno
            calls.setdefault(key, []).append(_Call(line, methods.get(call, {})))
    return calls


def _assigned_calls(pipeline: ast.FunctionDef) -> dict[str, list[tuple[int, ast.Call]]]:
    """Return the calls whose results a variable holds, by its name, with the lines from which."""
    assigned: dict[str, list[tuple[int, ast.Call]]] = {}
    for node in ast.walk(pipeline):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        for target in node.targets:
            if isinstance(target, ast.Name):
                maker = _innermost_call(node.value)
                assigned.setdefault(target.id, []).append((node.end_lineno or 0, maker))
    return assigned


def _innermost_call(call: ast.Call) -> ast.Call:
    """Return the first call of a chain: that of `train` in `train(x=1).set_retry(3)`."""
    while isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Call):
        call = call.func.value
    return call


def _maker_of(
    call: ast.Call, variables: Mapping[str, Sequence[tuple[int, ast.Call]]]
) -> ast.Call | None:
    """Return the call that made the task whose method another call is, None when it is not one."""
    if not isinstance(call.func, ast.Attribute):
        return None
    first: ast.expr = call.func.value
    if isinstance(first, ast.Call):
        innermost = _innermost_call(call)
        if not isinstance(innermost.func, ast.Attribute):
            return innermost
        first = innermost.func.value
        if not isinstance(first, ast.Name) or first.id not in variables:
            # `components.train(x=1).set_retry(3)`: `components` is a module.
            return innermost
    if not isinstance(first, ast.Name):
        return None
    makers = [maker for line, maker in variables.get(first.id, ()) if line < call.lineno]
    return makers[-1] if makers else None


# -- compiled files


def _read_document_lines(text: str, file: str, spec: Spec) -> dict[tuple[str, ...], Location]:
    """Return the lines of the parts of a compiled file.

    The keys are `("root",)`, `("components", NAME)`, and the segments of the paths of tasks.
    """
    # root.dag.tasks.KEY and components.NAME.dag.tasks.KEY
    lines_by_place = value_lines(text, 0, depth=5)
    lines: dict[tuple[str, ...], Location] = {}
    for place, line in lines_by_place.items():
        if place == ("root",) or (len(place) == 2 and place[0] == "components"):
            lines[place] = Location(file, line)
    for context in walk_tasks(build(spec.pipeline_spec)):
        key = context.task.key
        parent = context.parent.name
        dag_place: tuple[str, ...] = ("root",) if parent == "root" else ("components", parent)
        task_place = (*dag_place, "dag", "tasks", key)
        if task_place in lines_by_place:
            lines[tuple(context.path.split("/"))] = Location(file, lines_by_place[task_place])
    return lines


# -- comments


def _read_comments(text: str, file: str) -> list[Comment]:
    comments = []
    all_lines = text.splitlines()
    for number, line in enumerate(all_lines, start=1):
        match = _COMMENT.search(line)
        if match is None:
            continue
        rules = tuple(rule.strip() for rule in match["rules"].split(","))
        reason = _REASON.match(match["rest"])
        applies_to = number
        if not line[: match.start()].strip():
            applies_to = _next_code_line(all_lines, number)
        text_of_reason = reason[1].strip() if reason else ""
        comments.append(Comment(rules, text_of_reason, Location(file, number), applies_to))
    return comments


def _next_code_line(lines: Sequence[str], number: int) -> int:
    """Return the number of the first line of code after the line with a number."""
    for following, line in enumerate(lines[number:], start=number + 1):
        if line.strip() and not line.lstrip().startswith("#"):
            return following
    return number
