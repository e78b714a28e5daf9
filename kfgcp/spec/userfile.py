"""Importing a user's pipeline file: afresh each time, under a name of its own, with the modules
beside it."""

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
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from kfgcp.spec.local_modules import has_python, import_folders
from kfgcp.spec.source import digest_content

_LOCK = threading.RLock()
_OURS = str(Path(__file__).resolve().parent.parent) + os.sep
_STDLIB = str(Path(os.__file__).resolve().parent) + os.sep


@contextlib.contextmanager
def import_user_file(path: Path, files: dict[str, str]) -> Iterator[types.ModuleType]:
    """The module of a Python file, executed anew; on leaving, the process is as it was before.

    Within the context the folders of `import_folders` come first on `sys.path`, so that modules
    beside the file and in the user's project can be imported. What is printed goes to stderr.
    Afterwards the file and the modules of these folders that it imported are forgotten, so that the
    next import sees their new content. Nothing is written beside the user's files.

    Args:
        path: the file.
        files: takes the digest of each of the user's files that is loaded, by its absolute path.
    """
    path = Path(os.path.abspath(path))
    folders = import_folders(path)
    name = "kfgcp_pipeline_" + re.sub(r"\W", "_", path.stem)
    with _LOCK, contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        _silence_kfp()
        before, saved_path = set(sys.modules), sys.path[:]
        finder = _Finder(path, folders, files)
        importlib.invalidate_caches()
        sys.path[:0] = [str(folder) for folder in folders]
        sys.meta_path[:] = [
            finder if entry is importlib.machinery.PathFinder else entry for entry in sys.meta_path
        ]
        try:
            loader = _Loader(name, str(path), files)
            spec = importlib.util.spec_from_file_location(name, path, loader=loader)
            module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
            sys.modules[name] = module
            linecache.cache.pop(str(path), None)
            loader.exec_module(module)
            yield module
        finally:
            sys.meta_path[:] = [
                importlib.machinery.PathFinder if entry is finder else entry
                for entry in sys.meta_path
            ]
            sys.modules.pop(name, None)
            # While sys.path is still the same: the search path of a namespace package follows it.
            _forget(set(sys.modules) - before, folders)
            sys.path[:] = saved_path


def user_frames(error: BaseException, path: Path) -> list[traceback.FrameSummary]:
    """The frames of an error's traceback that lie in the user's own code, outermost first."""
    path = Path(os.path.abspath(path))
    folders = import_folders(path)
    user_frames = traceback.extract_tb(error.__traceback__)
    return [
        frame
        for frame in user_frames
        if frame.filename == str(path) or is_below(frame.filename, folders)
    ]


def is_below(file: str | None, folders: Sequence[Path]) -> bool:
    """Return whether a file lies in one of the user's folders: not installed there, not Python's,
    and not ours."""
    if not file or not file.startswith(tuple(os.path.join(folder, "") for folder in folders)):
        return False
    if {"site-packages", "dist-packages"} & set(Path(file).parts):
        return False
    return not os.path.realpath(file).startswith((_OURS, _STDLIB))


def _silence_kfp() -> None:
    """KFP warns of its own future in the user's name; the user's own warnings stay."""
    for category in (FutureWarning, DeprecationWarning):
        warnings.filterwarnings(
            "ignore", r"(?is).*(\bkfp\b|base_image|@dsl\.|pipelines? sdk)", category
        )


def _forget(names: set[str], folders: Sequence[Path]) -> None:
    for name in names:
        module = sys.modules.get(name)
        places = [getattr(module, "__file__", None) or "", *_search_path(module)]
        if any(is_below(place, folders) for place in places):
            del sys.modules[name]
            package, _, short_name = name.rpartition(".")
            if package in sys.modules:
                vars(sys.modules[package]).pop(short_name, None)
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
    """Loads from source alone: cached bytecode may be of another text written within the same
    second.

    Args:
        fullname: the name of the module.
        path: its file.
        files: takes the digest of the file.
    """

    def __init__(self, fullname: str, path: str, files: dict[str, str]) -> None:
        super().__init__(fullname, path)
        self._files = files

    def get_code(self, fullname: str) -> types.CodeType:
        path = self.get_filename(fullname)
        content = self.get_data(path)
        self._files[path] = digest_content(content)
        code: types.CodeType = self.source_to_code(content, path)
        return code


class _Finder:
    """Stands in for `PathFinder`: finds modules as Python does, but loads those of the user's
    folders from source.

    Args:
        path: the pipeline file.
        folders: the user's folders on the import path.
        files: takes the digests of the user's files that are loaded.
    """

    def __init__(self, path: Path, folders: Sequence[Path], files: dict[str, str]) -> None:
        self._path = path
        self._folders = folders
        self._files = files

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin == str(self._path):
            # `import pandas` in a file called pandas.py means the installed one.
            others = [entry for entry in (path or sys.path) if entry != str(self._path.parent)]
            spec = importlib.machinery.PathFinder.find_spec(fullname, others, target) or spec
        if spec is None or self._is_folder_without_python(spec):
            return None
        is_source = type(spec.loader) is importlib.machinery.SourceFileLoader
        if is_source and is_below(spec.origin, self._folders):
            spec.loader = _Loader(fullname, str(spec.origin), self._files)
            spec.cached = None
        return spec

    def find_distributions(self, *arguments: Any, **options: Any) -> Iterable[Any]:
        """Find installed distributions, which importlib.metadata asks for, as `PathFinder` does."""
        return importlib.machinery.PathFinder.find_distributions(*arguments, **options)

    def invalidate_caches(self) -> None:
        importlib.machinery.PathFinder.invalidate_caches()

    def _is_folder_without_python(self, spec: importlib.machinery.ModuleSpec) -> bool:
        """Return whether a namespace package is only a folder of the user that holds no Python.

        A project often has folders such as docker/ or terraform/. Python would import them as empty
        packages, and `try: import docker` would then succeed without the library.
        """
        if spec.loader is not None or spec.submodule_search_locations is None:
            return False
        places = list(spec.submodule_search_locations)
        return all(
            is_below(place, self._folders) and not has_python(Path(place)) for place in places
        )
