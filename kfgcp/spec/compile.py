"""From a Python file to the documents of a compiled pipeline. The only importer of KFP's
compiler."""

from __future__ import annotations

import re
import sys
import tempfile
import traceback
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfgcp.errors import KfgcpError, SpecError, UsageError
from kfgcp.spec import v1
from kfgcp.spec.documents import parse_documents
from kfgcp.spec.local_modules import LocalModule, find_local, import_folders
from kfgcp.spec.packages import package_name
from kfgcp.spec.source import display_path
from kfgcp.spec.userfile import import_user_file, user_frames

_LONGEST = 400


def kfp_version() -> str:
    """The version of the installed SDK, which can be imported and compiles for this kfgcp.

    Raises:
        SpecError: it cannot, or is too old.
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
    """What became of a Python file.

    Attributes:
        documents: what KFP compiled: one document, or two with platforms.
        files: the user's files that were loaded, by absolute path, with the digest of their
            content.
    """

    documents: list[dict[str, Any]]
    files: dict[str, str]


def compile_file(path: Path, function: str | None) -> CompiledFile:
    """Compile a pipeline or component in a Python file.

    Args:
        path: the file.
        function: the name of a pipeline or component in it. None takes the only pipeline that the
            file defines, or its only component; what it imports counts only when it defines
            neither.

    Raises:
        UsageError: there is no such function, or the file leaves open which one is meant.
        SpecError: the file cannot be imported or does not compile.
    """
    import kfp.compiler  # noqa: F401 - before the user's folder is on sys.path: the file may be called kfp.py

    files: dict[str, str] = {}
    try:
        with import_user_file(path, files) as module:
            documents = _documents(_pick(module, path, function), str(path))
        return CompiledFile(documents, files)
    except KfgcpError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, MemoryError):  # this is not a fault of the pipeline
            raise
        raise _explained(error, path) from None


@dataclass(frozen=True, slots=True)
class CompiledComponent:
    """A compiled pipeline or component of KFP.

    Attributes:
        documents: what KFP compiled: one document, or two with platforms.
        origin: `file.py:function` when its function is in a file, else its name.
    """

    documents: list[dict[str, Any]]
    origin: str


def compile_component(component: Any) -> CompiledComponent:
    """Compile a pipeline or component of KFP.

    Args:
        component: a function with KFP's decorator, or another component object of KFP.

    Raises:
        UsageError: the value is something else.
        SpecError: it is a function without a decorator, or does not compile.
    """
    if isinstance(component, types.FunctionType):
        code = component.__code__
        raise _undecorated(component.__name__, f"{code.co_filename}:{code.co_firstlineno}")
    from kfp.dsl.base_component import BaseComponent

    if not isinstance(component, BaseComponent):
        raise UsageError(
            f"A pipeline cannot be of the type {type(component).__name__}.",
            hint="Give a file, or a function with the decorator @dsl.pipeline or @dsl.component.",
        )
    origin = _origin(component)
    try:
        return CompiledComponent(_documents(component, origin), origin)
    except KfgcpError:
        raise
    except Exception as error:
        raise SpecError(f"{origin} does not compile: {_one_line(error)}.") from error


def _origin(component: Any) -> str:
    """Return `file.py:function` of a component whose function is in a file, else its name."""
    function = getattr(component, "pipeline_func", None) or getattr(component, "python_func", None)
    code = getattr(function, "__code__", None)
    if function is not None and code is not None and Path(code.co_filename).is_file():
        return f"{display_path(Path(code.co_filename))}:{function.__name__}"
    return str(component.name)


def _documents(component: Any, origin: str) -> list[dict[str, Any]]:
    import kfp.compiler

    with tempfile.TemporaryDirectory(prefix="kfgcp-") as folder:
        output = Path(folder, "pipeline.yaml")
        kfp.compiler.Compiler().compile(component, str(output))
        return parse_documents(output.read_text("utf-8"), origin, as_json=False)


def _undecorated(function: str, where: str) -> SpecError:
    return SpecError(
        f"{where}: {function} is a plain function, not a pipeline.",
        hint="Decorate it with @dsl.pipeline (from kfp import dsl).",
    )


def _pick(module: types.ModuleType, path: Path, function: str | None) -> Any:
    found = _candidates(module)
    if function is not None:
        return _named(module, path, function, found)
    own = {name: each for name, each in found.items() if not _is_imported(each, module)}
    for group in (own, found):
        for pipelines in (True, False):
            choices = [name for name, each in group.items() if _is_pipeline(each) == pipelines]
            if len(choices) == 1:
                return found[choices[0]]
            if choices:
                kind = "pipelines" if pipelines else "components and no pipeline"
                raise UsageError(
                    f"{path} has {len(choices)} {kind}: {', '.join(choices)}.",
                    hint=_choices(path, choices),
                )
    raise SpecError(
        f"{path} has no pipeline.",
        hint="Decorate the pipeline's function with @dsl.pipeline (from kfp import dsl).",
    )


def _named(module: types.ModuleType, path: Path, function: str, found: dict[str, Any]) -> Any:
    import difflib

    from kfp.dsl.base_component import BaseComponent

    value = getattr(module, function, None)
    if isinstance(value, BaseComponent):
        return value
    if isinstance(value, types.FunctionType):
        raise _undecorated(function, f"{path}:{value.__code__.co_firstlineno}")
    if hasattr(module, function):
        raise UsageError(
            f"{function} in {path} is no pipeline or component.", hint=_choices(path, list(found))
        )
    close = difflib.get_close_matches(function, list(found), n=1)
    hint = f"Did you mean {path}:{close[0]}?\n" if close else ""
    raise UsageError(f"{path} has no {function!r}.", hint=hint + _choices(path, list(found)))


def _choices(path: Path, names: list[str]) -> str:
    return (
        "\n".join(["Choose one:", *(f"  {path}:{name}" for name in names)])
        if names
        else "It has no pipeline."
    )


def _candidates(module: types.ModuleType) -> dict[str, Any]:
    """The pipelines and components among the names of a module, each under its first name."""
    from kfp.dsl.base_component import BaseComponent

    found: dict[int, tuple[str, Any]] = {}
    for name, value in vars(module).items():
        if isinstance(value, BaseComponent):
            found.setdefault(id(value), (name, value))
    return dict(found.values())


def _is_pipeline(component: Any) -> bool:
    from kfp.dsl.graph_component import GraphComponent

    return isinstance(component, GraphComponent)


def _is_imported(component: Any, module: types.ModuleType) -> bool:
    """Whether another module has the same object: then the file imported it from there."""
    for other in list(sys.modules.values()):
        if other is module or not isinstance(other, types.ModuleType):
            continue
        if any(value is component for value in list(vars(other).values())):
            return True
    return False


def _explained(error: BaseException, path: Path) -> SpecError:
    """What went wrong in the user's file, with the frames of the user's own code."""
    users = user_frames(error, path)
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        where = f"{_shown(error.filename, path)}:{error.lineno}"
    elif users:
        where = f"{_shown(users[-1].filename, path)}:{users[-1].lineno}"
    else:
        where = str(path)
    hint = ""
    what = _one_line(error)
    if isinstance(error, SystemExit):
        what = "the file ends the process while it is imported"
        hint = "Put what runs as a script below `if __name__ == '__main__':`."
    elif isinstance(error, ImportError):
        hint = _import_hint(error, path)
    use = _v1_use(error, users)
    if use is not None:
        where = f"{where.rpartition(':')[0]}:{use.line}" if users else where
        what = f"{use.name} is of KFP 1; KFP 2 does not have it"
        hint = f"In KFP 2: {use.today}."
    return SpecError(f"{where}: {what}.", hint=hint, user_traceback=_traceback(error, users))


def _shown(file: str, path: Path) -> str:
    """A file of the user the way the user named the pipeline's file."""
    folder = Path(path).absolute().parent
    try:
        return str(path.parent / Path(file).relative_to(folder))
    except ValueError:
        return file if path.is_absolute() else str(display_path(Path(file)))


def _one_line(error: BaseException) -> str:
    name = type(error).__name__
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    text = " ".join(f"{name}: {message}".split()).rstrip(".: ")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _v1_use(error: BaseException, users: list[traceback.FrameSummary]) -> v1.Use | None:
    if not users:
        return None
    try:
        source = Path(users[-1].filename).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    return v1.find(source, error, users[-1].lineno)


def _import_hint(error: ImportError, path: Path) -> str:
    if "relative import" in str(error):
        return "The file's folder is on sys.path: import its neighbours without the leading dot."
    name = error.name or ""
    missing = re.match(r"cannot import name '(\w+)'", str(error))
    if missing and (name == "google.cloud" or (name, missing[1]) == ("kfp", "kubernetes")):
        name = f"{name}.{missing[1]}"
    elif not isinstance(error, ModuleNotFoundError):
        return ""
    file = Path(path).absolute()
    local = find_local(name.partition(".")[0], file, import_folders(file))
    if local is not None:
        return _local_hint(name, local)
    return (
        f"pip install {package_name(name)}\nIf only a component needs it: import it inside its"
        " function, and name it in packages_to_install."
    )


def _local_hint(name: str, local: LocalModule) -> str:
    """What to do about a missing module whose name is that of a file or folder of the user.

    It never names a package: a stranger may have published one of that name.
    """
    top = name.partition(".")[0]
    place = display_path(local.place)
    if not local.has_python:
        return (
            f"The folder {place} has that name, but no Python files.\nIf you mean an installed"
            " library, install it with the package name in its documentation."
        )
    if not local.importable:
        folder = display_path(local.place.parent)
        return (
            f"{place} has that name, but {folder} is not on the import path.\n"
            f"Run kfgcp in {folder}, or set PYTHONPATH={folder}."
        )
    if name == top:
        return f"{place} has that name, but cannot be imported."
    installed = _installed_place(top, local.place)
    if installed is not None:
        return (
            f"{top} was imported from {installed}, not from {place}.\n"
            f"Add an empty file {place / '__init__.py'}, so that Python uses the folder."
        )
    return f"{top} is {place}, which has no {name.partition('.')[2]}. Look for a spelling mistake."


def _installed_place(name: str, place: Path) -> str | None:
    """Where an installed package lies that Python prefers to a folder without `__init__.py`; None
    for none."""
    if (place / "__init__.py").exists() or not place.is_dir():
        return None
    module = sys.modules.get(name)
    return getattr(module, "__file__", None)


def _traceback(error: BaseException, users: list[traceback.FrameSummary]) -> str:
    parts = traceback.StackSummary.from_list(users).format()
    head = ["Traceback (most recent call last):\n"] if parts else []
    return "".join([*head, *parts, *traceback.format_exception_only(error)]).rstrip()
