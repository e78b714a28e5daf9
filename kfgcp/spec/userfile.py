"""Importing a user's pipeline file: afresh each time, under a name of its own, with the modules beside it."""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import importlib.util
import linecache
import os
import re
import sys
import threading
import traceback
import types
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_LOCK = threading.RLock()
_OURS = str(Path(__file__).resolve().parent.parent) + os.sep
_STDLIB = str(Path(os.__file__).resolve().parent) + os.sep


@contextlib.contextmanager
def imported(path: Path) -> Iterator[types.ModuleType]:
    """The module of a Python file, executed anew; on leaving, the process is as it was before.

    Within the context the file's folder comes first on `sys.path`, so that the modules beside it can be
    imported, and what is printed goes to stderr. Afterwards the file and the modules of its folder that it
    brought along are forgotten, so that the next import sees their new content. Nothing is written beside
    the user's files.
    """
    path = Path(os.path.abspath(path))
    name = "kfgcp_pipeline_" + re.sub(r"\W", "_", path.stem)
    with _LOCK, contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        _silence_kfp()
        before, saved_path = set(sys.modules), sys.path[:]
        finder = _Finder(path)
        at = next((i for i, each in enumerate(sys.meta_path) if each is importlib.machinery.PathFinder), 0)
        importlib.invalidate_caches()
        sys.path.insert(0, str(path.parent))
        sys.meta_path.insert(at, finder)
        try:
            loader = _Loader(name, str(path))
            spec = importlib.util.spec_from_file_location(name, path, loader=loader)
            module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
            sys.modules[name] = module
            linecache.cache.pop(str(path), None)
            loader.exec_module(module)
            yield module
        finally:
            sys.meta_path.remove(finder)
            sys.path[:] = saved_path
            sys.modules.pop(name, None)
            _forget(set(sys.modules) - before, path.parent)


def frames(error: BaseException, path: Path) -> list[traceback.FrameSummary]:
    """The frames of an error's traceback that lie in the user's own code, outermost first."""
    path = Path(os.path.abspath(path))
    return [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename, path)]


def is_below(file: str | None, folder: Path) -> bool:
    """Whether a file lies in a user's folder: not installed there, not Python's, and not ours."""
    if not file or not file.startswith(os.path.join(folder, "")):
        return False
    if {"site-packages", "dist-packages"} & set(Path(file).parts):
        return False
    return not os.path.realpath(file).startswith((_OURS, _STDLIB))


def _is_users(file: str, path: Path) -> bool:
    return file == str(path) or is_below(file, path.parent)


def _silence_kfp() -> None:
    """KFP warns of its own future in the user's name; the user's own warnings stay."""
    for category in (FutureWarning, DeprecationWarning):
        warnings.filterwarnings("ignore", r"(?is).*(\bkfp\b|base_image|@dsl\.|pipelines? sdk)", category)


def _forget(names: set[str], folder: Path) -> None:
    for name in names:
        module = sys.modules.get(name)
        places = [getattr(module, "__file__", None) or "", *_search_path(module)]
        if any(is_below(place, folder) for place in places):
            del sys.modules[name]
            linecache.cache.pop(places[0], None)


def _search_path(module: Any) -> list[str]:
    """Where a namespace package, which has no file, looks for its modules."""
    if getattr(module, "__file__", None):
        return []
    try:
        return [str(place) for place in getattr(module, "__path__", ())]
    except Exception:  # a module that answers any attribute with something of its own
        return []


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads from source alone: cached bytecode may be of another text written within the same second."""

    def get_code(self, fullname: str) -> types.CodeType:
        path = self.get_filename(fullname)
        code: types.CodeType = self.source_to_code(self.get_data(path), path)
        return code


class _Finder:
    """Finds modules as Python does, except that those of the user's folder are loaded from source."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin == str(self._path):
            # `import pandas` in a file called pandas.py means the installed one.
            others = [each for each in (path or sys.path) if each != str(self._path.parent)]
            spec = importlib.machinery.PathFinder.find_spec(fullname, others, target) or spec
        if (
            spec is None
            or type(spec.loader) is not importlib.machinery.SourceFileLoader
            or not is_below(spec.origin, self._path.parent)
        ):
            return spec
        spec.loader = _Loader(fullname, str(spec.origin))
        spec.cached = None
        return spec
