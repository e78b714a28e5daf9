"""Explain why a user's pipeline file cannot be imported or compiled.

An error names the line of the user's own code, and the hint says what to do next.
"""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kfgcp.errors import SpecError
from kfgcp.spec import v1
from kfgcp.spec.local_modules import LocalModule, find_local, import_folders
from kfgcp.spec.packages import package_name
from kfgcp.spec.source import display_path
from kfgcp.spec.userfile import user_frames

# Characters. Messages of pydantic and of KFP can be much longer.
_MAX_MESSAGE: Final = 400


def explain_error(error: BaseException, path: Path) -> SpecError:
    """Return the error for users, with the frames of the user's own code.

    Args:
        error: what importing or compiling the file raised.
        path: the pipeline file, as the user named it.
    """
    frames = user_frames(error, path)
    old_use = _find_use_of_kfp_1(error, frames)
    user_traceback = _format_traceback(error, frames)
    where = _find_place(error, frames, path)
    if old_use is not None:
        # The old name may be in a line above the line that raised the error.
        where = f"{where.rpartition(':')[0]}:{old_use.line}"
        return SpecError(
            f"{where}: {old_use.name} is from KFP 1; KFP 2 does not have it.",
            hint=f"In KFP 2: {old_use.replacement}.",
            user_traceback=user_traceback,
        )
    problem = describe_error(error)
    hint = ""
    if isinstance(error, SystemExit):
        problem = "the file ends the process while it is imported"
        hint = "Put the code that runs as a script below `if __name__ == '__main__':`."
    elif isinstance(error, ImportError):
        hint = _import_hint(error, path)
    return SpecError(f"{where}: {problem}.", hint=hint, user_traceback=user_traceback)


def describe_error(error: BaseException) -> str:
    """Return the type and message of an error in one line, without a full stop.

    Example:
        >>> describe_error(ValueError("no rows."))
        'ValueError: no rows'
    """
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    words = f"{type(error).__name__}: {message}".split()
    text = " ".join(words).rstrip(".: ")
    return text if len(text) <= _MAX_MESSAGE else f"{text[:_MAX_MESSAGE]}…"


def _find_place(error: BaseException, frames: Sequence[traceback.FrameSummary], path: Path) -> str:
    """Return the file and line of the user's code that raised an error."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{_display_file(error.filename, path)}:{error.lineno}"
    if frames:
        return f"{_display_file(frames[-1].filename, path)}:{frames[-1].lineno}"
    return str(path)


def _display_file(file: str, path: Path) -> str:
    """Return the path of a user's file for a message: relative when `path` is relative."""
    folder = Path(path).absolute().parent
    try:
        return str(path.parent / Path(file).relative_to(folder))
    except ValueError:
        return file if path.is_absolute() else str(display_path(Path(file)))


def _find_use_of_kfp_1(
    error: BaseException, frames: Sequence[traceback.FrameSummary]
) -> v1.Use | None:
    """Return the use of KFP 1 that caused an error, None for another cause."""
    if not frames:
        return None
    try:
        source = Path(frames[-1].filename).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    return v1.find(source, error, frames[-1].lineno)


def _import_hint(error: ImportError, path: Path) -> str:
    if "relative import" in str(error):
        return "Import files of the same folder without the leading dot: the folder is on sys.path."
    module = _missing_module(error)
    if not module:
        return ""
    file = Path(path).absolute()
    local = find_local(module.partition(".")[0], file, import_folders(file))
    if local is not None:
        return _local_hint(module, local)
    return (
        f"pip install {package_name(module)}\nIf only a component needs the package: import it"
        " inside the component's function, and list it in packages_to_install."
    )


def _missing_module(error: ImportError) -> str:
    """Return the dotted name of the module that is not installed, "" for another cause."""
    module = error.name or ""
    # `from google.cloud import storage` and `from kfp import kubernetes` import modules that are
    # packages of their own. So a missing name there means a missing package.
    match = re.match(r"cannot import name '(\w+)'", str(error))
    if match is not None:
        is_module = module == "google.cloud" or (module, match[1]) == ("kfp", "kubernetes")
        if is_module:
            return f"{module}.{match[1]}"
    return module if isinstance(error, ModuleNotFoundError) else ""


def _local_hint(module: str, local: LocalModule) -> str:
    """Return a hint about a missing module that has the name of a user's file or folder.

    The hint never names a package, because a stranger may have published a package of that name.
    """
    top = module.partition(".")[0]
    place = display_path(local.place)
    if not local.has_python:
        return (
            f"The folder {place} has the name of the missing module, but no Python files.\nIf you"
            " mean a library, install it: pip install NAME. Its documentation gives the NAME."
        )
    if not local.importable:
        folder = display_path(local.place.parent)
        return (
            f"{place} has the name of the missing module, but {folder} is not on the import path.\n"
            f"Run kfgcp in {folder}, or set PYTHONPATH={folder}."
        )
    if module == top:
        return f"{place} has the name of the missing module, but Python cannot import it."
    package_file = _preferred_file(top, local.place)
    if package_file is not None:
        return (
            f"{top} was imported from {package_file}, not from {place}.\n"
            f"Add an empty file {place / '__init__.py'}, so that Python uses the folder."
        )
    submodule = module.partition(".")[2]
    return f"{top} is {place}, and has no {submodule}. Look for a spelling mistake."


def _preferred_file(name: str, place: Path) -> str | None:
    """Return the file of the installed package that Python imported instead of a user's folder.

    Python prefers any package to a folder without `__init__.py`, even when the folder comes first
    on sys.path.

    Args:
        name: the name of the package.
        place: the user's folder.
    """
    if (place / "__init__.py").exists() or not place.is_dir():
        return None
    return getattr(sys.modules.get(name), "__file__", None)


def _format_traceback(error: BaseException, frames: Sequence[traceback.FrameSummary]) -> str:
    """Return the traceback of the user's own code."""
    lines = traceback.StackSummary.from_list(frames).format()
    if lines:
        lines.insert(0, "Traceback (most recent call last):\n")
    lines += traceback.format_exception_only(error)
    return "".join(lines).rstrip()
