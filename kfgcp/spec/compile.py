"""Compile a pipeline in a Python file, or an object of KFP, to the documents of a compiled file.

This is the only module that imports KFP's compiler. Importing kfp takes seconds, so each function
imports kfp itself.
"""

from __future__ import annotations

import sys
import tempfile
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfgcp.errors import KfgcpError, SpecError, UsageError
from kfgcp.spec.compile_errors import describe_error, explain_error
from kfgcp.spec.documents import parse_documents
from kfgcp.spec.source import display_path
from kfgcp.spec.userfile import import_user_file

if TYPE_CHECKING:
    from kfp.dsl.base_component import BaseComponent


def kfp_version() -> str:
    """Return the version of the installed KFP SDK.

    Raises:
        SpecError: the SDK cannot be imported, or is not version 2.
    """
    hint = f"{sys.executable} -m pip install 'kfp>=2.10,<3'"
    try:
        import kfp.compiler
    except Exception as error:
        raise SpecError(
            f"kfp cannot be imported: {type(error).__name__}: {error}", hint=hint
        ) from None
    version = str(kfp.__version__)
    if not version.startswith("2."):
        raise SpecError(f"kfp {version} is installed; this kfgcp works with kfp 2.", hint=hint)
    return version


@dataclass(frozen=True, slots=True)
class CompiledFile:
    """A compiled Python file.

    Attributes:
        documents: the PipelineSpec, and the platform spec if there is one.
        files: absolute path of each file of the user that was loaded -> digest of the content.
    """

    documents: list[dict[str, Any]]
    files: dict[str, str]


@dataclass(frozen=True, slots=True)
class CompiledComponent:
    """A compiled pipeline or component of KFP.

    Attributes:
        documents: the PipelineSpec, and the platform spec if there is one.
        origin: `file.py:function` when its function is in a file, else its name.
    """

    documents: list[dict[str, Any]]
    origin: str


def compile_file(path: Path, function: str | None) -> CompiledFile:
    """Compile a pipeline or component in a Python file.

    Args:
        path: the file.
        function: the name of a pipeline or component in it. None means the only pipeline that the
            file defines, or else its only component. Imported pipelines and components count only
            when the file defines none.

    Raises:
        UsageError: there is no such function, or several functions could be meant.
        SpecError: the file cannot be imported or does not compile.
    """
    # This comes before the user's folder is on sys.path, because the file may be called kfp.py.
    import kfp.compiler  # noqa: F401

    files: dict[str, str] = {}
    try:
        with import_user_file(path, files) as module:
            component = _choose_component(module, path, function)
            return CompiledFile(_compile(component, str(path)), files)
    except (KfgcpError, MemoryError):
        # A lack of memory is not a fault of the pipeline.
        raise
    except (Exception, SystemExit) as error:
        raise explain_error(error, path) from None


def compile_component(component: object) -> CompiledComponent:
    """Compile a pipeline or component of KFP.

    Args:
        component: a function with KFP's decorator, or another component object of KFP.

    Raises:
        UsageError: the value is something else.
        SpecError: it is a function without a decorator, or does not compile.
    """
    if isinstance(component, types.FunctionType):
        code = component.__code__
        where = f"{code.co_filename}:{code.co_firstlineno}"
        raise _undecorated_error(component.__name__, where)
    from kfp.dsl.base_component import BaseComponent

    if not isinstance(component, BaseComponent):
        raise UsageError(
            f"A pipeline cannot be of the type {type(component).__name__}.",
            hint="Give a file, or a function with the decorator @dsl.pipeline or @dsl.component.",
        )
    origin = _describe_origin(component)
    try:
        return CompiledComponent(_compile(component, origin), origin)
    except KfgcpError:
        raise
    except Exception as error:
        raise SpecError(f"{origin} does not compile: {describe_error(error)}.") from error


def _compile(component: BaseComponent, origin: str) -> list[dict[str, Any]]:
    import kfp.compiler

    # KFP's compiler writes only to a file.
    with tempfile.TemporaryDirectory(prefix="kfgcp-") as folder:
        output = Path(folder, "pipeline.yaml")
        kfp.compiler.Compiler().compile(component, str(output))
        return parse_documents(output.read_text("utf-8"), origin, as_json=False)


def _describe_origin(component: BaseComponent) -> str:
    """Return `file.py:function` of a component whose function is in a file, else its name."""
    function = getattr(component, "pipeline_func", None) or getattr(component, "python_func", None)
    code = getattr(function, "__code__", None)
    if function is None or code is None or not Path(code.co_filename).is_file():
        return str(component.name)
    return f"{display_path(Path(code.co_filename))}:{function.__name__}"


def _undecorated_error(function: str, where: str) -> SpecError:
    return SpecError(
        f"{where}: {function} is a plain function, not a pipeline.",
        hint="Decorate it with @dsl.pipeline (from kfp import dsl).",
    )


# -- the component to compile


def _choose_component(module: types.ModuleType, path: Path, function: str | None) -> BaseComponent:
    """Return the pipeline or component to compile. See `compile_file` for the function."""
    components = _find_components(module)
    if function is not None:
        return _component_named(function, module, path, components)
    own_components = {
        name: component
        for name, component in components.items()
        if not _is_imported(component, module)
    }
    # Components that the file defines come before imported ones, and pipelines before others.
    for candidates in (own_components, components):
        pipelines = [name for name, item in candidates.items() if _is_pipeline(item)]
        others = [name for name in candidates if name not in pipelines]
        for names, kind in ((pipelines, "pipelines"), (others, "components and no pipeline")):
            if len(names) == 1:
                return components[names[0]]
            if names:
                raise UsageError(
                    f"{path} has {len(names)} {kind}: {', '.join(names)}.",
                    hint=_list_choices(path, names),
                )
    raise SpecError(
        f"{path} has no pipeline.",
        hint="Decorate the pipeline's function with @dsl.pipeline (from kfp import dsl).",
    )


def _component_named(
    name: str, module: types.ModuleType, path: Path, components: Mapping[str, BaseComponent]
) -> BaseComponent:
    import difflib

    from kfp.dsl.base_component import BaseComponent

    value = getattr(module, name, None)
    if isinstance(value, BaseComponent):
        return value
    if isinstance(value, types.FunctionType):
        raise _undecorated_error(name, f"{path}:{value.__code__.co_firstlineno}")
    choices = _list_choices(path, components)
    if hasattr(module, name):
        raise UsageError(f"{name} in {path} is not a pipeline or component.", hint=choices)
    close_names = difflib.get_close_matches(name, list(components), n=1)
    suggestion = f"Did you mean {path}:{close_names[0]}?\n" if close_names else ""
    raise UsageError(f"{path} has no {name!r}.", hint=suggestion + choices)


def _list_choices(path: Path, names: Iterable[str]) -> str:
    lines = [f"  {path}:{name}" for name in names]
    if not lines:
        return "It has no pipeline."
    return "Choose one:\n" + "\n".join(lines)


def _find_components(module: types.ModuleType) -> dict[str, BaseComponent]:
    """Return the pipelines and components of a module, each under its first name."""
    from kfp.dsl.base_component import BaseComponent

    components = {}
    # One object may have several names.
    ids = set()
    for name, value in vars(module).items():
        if isinstance(value, BaseComponent) and id(value) not in ids:
            ids.add(id(value))
            components[name] = value
    return components


def _is_pipeline(component: BaseComponent) -> bool:
    from kfp.dsl.graph_component import GraphComponent

    return isinstance(component, GraphComponent)


def _is_imported(component: BaseComponent, module: types.ModuleType) -> bool:
    """Return whether another module has the same object. The file then imported it from there."""
    for other in list(sys.modules.values()):
        if other is module or not isinstance(other, types.ModuleType):
            continue
        # The loop runs over a copy, because some modules add attributes while they are read.
        if any(value is component for value in list(vars(other).values())):
            return True
    return False
