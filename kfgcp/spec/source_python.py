"""Read Python files of pipelines without importing them: functions, imports, and what they mean."""

from __future__ import annotations

import ast
import os
import tokenize
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Final

from kfgcp.spec.documents import find_text
from kfgcp.spec.source import display_path
from kfgcp.spec.source_comments import Comment, read_python_comments
from kfgcp.spec.source_lines import Location, sanitize

# The decorators of KFP that make a component or a pipeline of a function.
_DECORATORS: Final = frozenset({"component", "container_component", "notebook_component"})
_PIPELINE_DECORATORS: Final = frozenset({"pipeline", "graph_component"})

# The functions of kfp.components that read a component from YAML.
_LOADERS: Final = frozenset(
    {
        "load_component_from_file",
        "load_component_from_text",
        "load_component_from_url",
        "load_component",
    }
)

# Bytes. Files that people write are far smaller; parsing one of this size takes about a second.
_MAX_FILE: Final = 4 * 2**20

# A name that leads to a name that leads to a name: nobody writes longer chains than this.
_MAX_ALIASES: Final = 10

_FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """A function in a Python file, or a component that is loaded from YAML.

    Attributes:
        key: the name of its component, as KFP writes names; empty when it is not known, because the
            component is read from an address or from a file that is not there.
        location: its decorator, or `def` without one; for YAML, the name in the file.
        is_component: whether it is a component or a pipeline; otherwise it is a plain function.
        is_pipeline: whether it is a pipeline.
        node: the parsed function, None for YAML.
        module: the file that it is in.
    """

    key: str
    location: Location
    is_component: bool
    is_pipeline: bool
    node: _FunctionNode | None
    module: Module


@dataclass(slots=True, eq=False)
class Module:
    """A parsed Python file.

    Attributes:
        path: the file.
        file: the file as users see it.
        functions: its functions by name; the last one of a name counts, as in Python.
        imports: local name -> dotted module, and the name in it; None for the module itself.
        star_imports: the modules of `from module import *`.
        assigned: name -> the value that the file assigns to it.
        comments: the comments that suppress rules.
    """

    path: Path
    file: str
    functions: dict[str, Function] = field(default_factory=dict)
    imports: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    star_imports: list[str] = field(default_factory=list)
    assigned: dict[str, ast.expr] = field(default_factory=dict)
    comments: Sequence[Comment] = ()


def read_module(path: Path, file: str) -> Module | None:
    """Return a parsed Python file, None when it cannot be read or parsed.

    Args:
        path: the file.
        file: the file as users see it, for locations.
    """
    try:
        if path.stat().st_size > _MAX_FILE:
            return None
        content = path.read_bytes()
        with warnings.catch_warnings():
            # Python warned of escapes such as "\d" when it compiled the file.
            warnings.simplefilter("ignore")
            tree = ast.parse(content)
        text = _decode(content)
    except (OSError, SyntaxError, ValueError, LookupError, RecursionError, MemoryError):
        return None
    module = Module(path, file)
    functions: list[_FunctionNode] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            functions.append(node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            _add_imports(node, module)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                _add_assigned(target, node.value, module)
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
            _add_assigned(node.target, node.value, module)
    # Decorators have the names of imports, so functions come last.
    for function in functions:
        module.functions[function.name] = _read_function(function, module)
    module.comments = read_python_comments(text, tree, file)
    return module


def _decode(content: bytes) -> str:
    """Return the text of a Python file, which may declare its encoding."""
    encoding, _ = tokenize.detect_encoding(BytesIO(content).readline)
    return content.decode(encoding, errors="replace")


def _read_function(node: _FunctionNode, module: Module) -> Function:
    decorator = _kfp_decorator(node, module)
    if decorator is None:
        first = node.decorator_list[0] if node.decorator_list else node
        location = Location(module.file, first.lineno)
        return Function(sanitize(node.name), location, False, False, node, module)
    is_pipeline = _decorator_name(decorator, module) in _PIPELINE_DECORATORS
    key = sanitize(node.name)
    if is_pipeline:
        key = sanitize(_read_name(decorator, module) or node.name)
    location = Location(module.file, decorator.lineno)
    return Function(key, location, True, is_pipeline, node, module)


def _kfp_decorator(function: _FunctionNode, module: Module) -> ast.expr | None:
    known_names = _DECORATORS | _PIPELINE_DECORATORS
    for decorator in function.decorator_list:
        if _decorator_name(decorator, module) in known_names:
            return decorator
    return None


def _decorator_name(decorator: ast.expr, module: Module) -> str:
    """Return `component` for `@dsl.component(base_image="…")`, and for another name of it.

    The other name may be that of an import, `from kfp.dsl import component as step`, or a partial
    call, `step = functools.partial(dsl.component, base_image="…")`.
    """
    function = decorator.func if isinstance(decorator, ast.Call) else decorator
    name = called_name(function)
    if not isinstance(function, ast.Name):
        return name
    assigned = module.assigned.get(name)
    if isinstance(assigned, ast.Call) and assigned.args:
        return called_name(assigned.args[0])
    if assigned is not None:
        return called_name(assigned)
    imported_name = module.imports.get(name, ("", None))[1]
    return imported_name or name


def called_name(function: ast.expr) -> str:
    """Return the last name of a called function, "" without one."""
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _read_name(decorator: ast.expr, module: Module) -> str:
    """Return the text of `name=` in a decorator, "" when it is not a plain text."""
    if not isinstance(decorator, ast.Call):
        return ""
    values = [keyword.value for keyword in decorator.keywords if keyword.arg == "name"]
    values += decorator.args[:1]
    for value in values:
        constant = module.assigned.get(value.id) if isinstance(value, ast.Name) else value
        if isinstance(constant, ast.Constant) and isinstance(constant.value, str):
            return constant.value
    return ""


def _add_imports(node: ast.Import | ast.ImportFrom, module: Module) -> None:
    for alias in node.names:
        if alias.name == "*" and isinstance(node, ast.ImportFrom):
            module.star_imports.append(node.module or "")
        elif isinstance(node, ast.ImportFrom):
            module.imports[alias.asname or alias.name] = (node.module or "", alias.name)
        elif alias.asname:
            module.imports[alias.asname] = (alias.name, None)
        else:
            # `import a.b` makes `a`, and `a.b.train` is looked up with all its names.
            top = alias.name.partition(".")[0]
            module.imports[top] = (top, None)


def _add_assigned(target: ast.expr, value: ast.expr, module: Module) -> None:
    if isinstance(target, ast.Name):
        module.assigned[target.id] = value


class Program:
    """The Python files of a pipeline. A file is parsed when a question needs it.

    Args:
        files: the files, the one that the user named first.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self.files = list(files)
        self._modules: dict[Path, Module | None] = {}
        self._files_by_name: dict[str, list[Path]] = {}
        for file in self.files:
            self._files_by_name.setdefault(_module_path(file).name, []).append(file)

    def read(self, file: Path) -> Module | None:
        """Return the parsed content of a file, None when it cannot be parsed."""
        if file not in self._modules:
            self._modules[file] = read_module(file, str(display_path(file)))
        return self._modules[file]

    def find_function(self, key: str, *, is_pipeline: bool) -> Function | None:
        """Return the first pipeline, or the first other component, that has a name."""
        for file in self.files:
            module = self.read(file)
            for function in module.functions.values() if module is not None else ():
                is_wanted_kind = function.is_component and function.is_pipeline is is_pipeline
                if function.key == key and is_wanted_kind:
                    return function
        return None

    def resolve(self, expression: ast.expr, module: Module) -> Function | str:
        """Return the function that an expression in a file means, or its name when it is unknown.

        Args:
            expression: what is called, `components.train` for example.
            module: the file that it is in.

        Returns:
            The function, or the name of the component that it probably is, as KFP writes names.
        """
        return self._resolve(expression, module, _MAX_ALIASES)

    def _resolve(self, expression: ast.expr, module: Module, aliases: int) -> Function | str:
        names = _dotted_names(expression)
        if not names or aliases == 0:
            return sanitize(called_name(expression))
        first = names[0]
        if len(names) == 1 and first in module.functions:
            return module.functions[first]
        if first in module.imports:
            imported_module, imported_name = module.imports[first]
            dotted = [imported_name] if imported_name is not None else []
            return self._resolve_import(imported_module, dotted + names[1:], aliases - 1)
        if len(names) == 1 and first in module.assigned:
            return self._resolve_assigned(first, module, aliases - 1)
        for star_module in module.star_imports:
            function = self._resolve_import(star_module, names, aliases - 1)
            if isinstance(function, Function):
                return function
        return sanitize(names[-1])

    def _resolve_import(self, dotted: str, names: list[str], aliases: int) -> Function | str:
        """Return the function of a module, by the names after the module's own."""
        package = dotted.split(".") if dotted else []
        # `from package import module` and `import package.module` name modules, too.
        for count in range(len(names)):
            module = self._find_module(package + names[:count])
            rest = names[count:]
            if module is not None and _has(module, rest[0]):
                expression: ast.expr = ast.Name(rest[0])
                for name in rest[1:]:
                    expression = ast.Attribute(expression, name)
                return self._resolve(expression, module, aliases)
        return sanitize(names[-1]) if names else ""

    def _find_module(self, names: Sequence[str]) -> Module | None:
        """Return the file of a module, by the end of its path."""
        if not names:
            return None
        for file in self._files_by_name.get(names[-1], ()):
            parts = _module_path(file).parts
            if list(parts[-len(names) :]) == list(names):
                return self.read(file)
        return None

    def _resolve_assigned(self, name: str, module: Module, aliases: int) -> Function | str:
        value = module.assigned[name]
        if isinstance(value, ast.Name | ast.Attribute):
            return self._resolve(value, module, aliases)
        if isinstance(value, ast.Call):
            if called_name(value.func) in _LOADERS:
                return load_yaml_component(value, module)
            component = self._resolve_argument(value, module, aliases)
            if component is not None:
                return component
        return sanitize(name)

    def _resolve_argument(self, call: ast.Call, module: Module, aliases: int) -> Function | None:
        """Return the component that a call makes of its first argument, None without one.

        `dsl.component(function)` makes a component of a plain function. Vertex AI's helpers turn a
        component into a custom job of the same name.
        """
        if not call.args:
            return None
        function = self._resolve(call.args[0], module, aliases)
        if not isinstance(function, Function) or function.is_component:
            return function if isinstance(function, Function) else None
        maker = call.func.func if isinstance(call.func, ast.Call) else call.func
        if called_name(maker) not in _DECORATORS:
            return None
        location = Location(module.file, call.lineno)
        return replace(function, is_component=True, location=location)


def _module_path(file: Path) -> Path:
    """Return the path of a module without an ending: `a/b` for `a/b.py` and `a/b/__init__.py`."""
    return file.parent if file.stem == "__init__" else file.with_suffix("")


def _dotted_names(expression: ast.expr) -> list[str]:
    """Return `["components", "train"]` for `components.train`; nothing for other expressions."""
    names: list[str] = []
    while isinstance(expression, ast.Attribute):
        names.append(expression.attr)
        expression = expression.value
    if not isinstance(expression, ast.Name):
        return []
    names.append(expression.id)
    return names[::-1]


def _has(module: Module, name: str) -> bool:
    return name in module.functions or name in module.assigned or name in module.imports


# -- components in YAML


def load_yaml_component(call: ast.Call, module: Module) -> Function:
    """Return the component that a call of `load_component_from_file` loads.

    Args:
        call: the call. Its argument may be a text, or a path that ends with one.
        module: the file that the call is in.

    Returns:
        The component. When its name is not found, it has no key, and the line of the call.
    """
    texts = _texts_in(call)
    unknown = Function("", Location(module.file, call.lineno), True, False, None, module)
    loader = called_name(call.func)
    if loader == "load_component_from_text":
        name_line = _find_yaml_name(texts[0]) if texts else None
        return replace(unknown, key=sanitize(name_line[0])) if name_line is not None else unknown
    if loader == "load_component_from_url":
        return unknown
    for text in reversed(texts):
        # KFP opens a relative path from the current folder. Most programs begin the path with the
        # folder of their file.
        for folder in (module.path.parent, Path()):
            path = folder / text
            content = _read_yaml(path)
            name_line = _find_yaml_name(content) if content is not None else None
            if name_line is not None:
                file = str(display_path(Path(os.path.abspath(path))))
                location = Location(file, name_line[1])
                return replace(unknown, key=sanitize(name_line[0]), location=location)
    return unknown


def _texts_in(call: ast.Call) -> list[str]:
    """Return the plain texts in the arguments of a call, in their order."""
    texts = []
    arguments = call.args + [keyword.value for keyword in call.keywords]
    for argument in arguments:
        constants = [node for node in ast.walk(argument) if isinstance(node, ast.Constant)]
        texts += [node.value for node in constants if isinstance(node.value, str)]
    return texts


def _read_yaml(path: Path) -> str | None:
    try:
        if not path.is_file() or path.stat().st_size > _MAX_FILE:
            return None
        return path.read_text("utf-8-sig")
    # A text with a NUL character is not a path.
    except (OSError, ValueError):
        return None


def _find_yaml_name(text: str) -> tuple[str, int] | None:
    """Return the name of the component in a YAML text, and the line of the name.

    A component of KFP 1 has `name`, a compiled one has `pipelineInfo.name`.
    """
    return find_text(text, ("name",)) or find_text(text, ("pipelineInfo", "name"))
