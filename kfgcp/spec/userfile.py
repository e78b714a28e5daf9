"""Import a user's pipeline file, with the modules beside it.

Each import executes the file and its neighbours again, because the user may have changed them since
(a notebook or the dashboard imports the same file often). The process is the same afterwards.
"""

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
from typing import Any, Final

from kfgcp.spec.local_modules import has_python, import_folders
from kfgcp.spec.source import digest_content

# sys.path and sys.modules belong to the whole process, so only one thread imports at a time.
_LOCK: Final = threading.RLock()
_OUR_FOLDER: Final = str(Path(__file__).resolve().parent.parent) + os.sep
_PYTHON_FOLDER: Final = str(Path(os.__file__).resolve().parent) + os.sep


@contextlib.contextmanager
def import_user_file(path: Path, files: dict[str, str]) -> Iterator[types.ModuleType]:
    """Execute a Python file as a module; on leaving, the process is as it was before.

    Within the context the folders of `import_folders` come first on `sys.path`, so that modules
    beside the file and in the user's project can be imported. What is printed goes to stderr.
    Afterwards the file and the modules of these folders that it imported are forgotten, so that the
    next import sees their new content. Nothing is written beside the user's files.

    Args:
        path: the file.
        files: receives the digest of each of the user's files that is loaded, by its absolute path.

    Yields:
        The module.
    """
    path = Path(os.path.abspath(path))
    folders = import_folders(path)
    # A name of our own: the file may be called like an installed module.
    name = "kfgcp_pipeline_" + re.sub(r"\W", "_", path.stem)
    with _LOCK, contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        _ignore_warnings_of_kfp()
        modules_before = set(sys.modules)
        saved_path = sys.path[:]
        finder = _Finder(path, folders, files)
        # Python remembers the content of folders. The user may have added a file since.
        importlib.invalidate_caches()
        sys.path[:0] = [str(folder) for folder in folders]
        _replace_finder(importlib.machinery.PathFinder, finder)
        try:
            yield _execute(path, name, files)
        finally:
            _replace_finder(finder, importlib.machinery.PathFinder)
            sys.modules.pop(name, None)
            # While sys.path is still the same: the search path of a namespace package follows it.
            _forget(set(sys.modules) - modules_before, folders)
            sys.path[:] = saved_path


def user_frames(error: BaseException, path: Path) -> list[traceback.FrameSummary]:
    """Return the frames of an error's traceback in the user's own code, outermost first.

    Args:
        error: what importing or compiling the file raised.
        path: the pipeline file.
    """
    file = Path(os.path.abspath(path))
    folders = import_folders(file)
    frames = traceback.extract_tb(error.__traceback__)
    return [
        frame
        for frame in frames
        if frame.filename == str(file) or is_below(frame.filename, folders)
    ]


def is_below(file: str | None, folders: Sequence[Path]) -> bool:
    """Return whether a file lies in one of the user's folders, and is the user's own.

    Installed files, those of Python and ours may lie there too, in a virtual environment for
    example.
    """
    if not file:
        return False
    # With a separator at the end: /home/ann must not match /home/anna.
    prefixes = tuple(os.path.join(folder, "") for folder in folders)
    if not file.startswith(prefixes):
        return False
    if {"site-packages", "dist-packages"} & set(Path(file).parts):
        return False
    return not os.path.realpath(file).startswith((_OUR_FOLDER, _PYTHON_FOLDER))


def _execute(path: Path, name: str, files: dict[str, str]) -> types.ModuleType:
    loader = _Loader(name, str(path), files)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    # Before it runs, as Python itself does: dataclasses, for example, look their module up.
    sys.modules[name] = module
    # Tracebacks must show the lines of the new content.
    linecache.cache.pop(str(path), None)
    loader.exec_module(module)
    return module


def _replace_finder(old: Any, new: Any) -> None:
    sys.meta_path[:] = [new if finder is old else finder for finder in sys.meta_path]


def _ignore_warnings_of_kfp() -> None:
    """Ignore warnings about KFP's own future, which KFP raises in the user's name.

    The user's own warnings are still shown.
    """
    for category in (FutureWarning, DeprecationWarning):
        warnings.filterwarnings(
            "ignore", r"(?is).*(\bkfp\b|base_image|@dsl\.|pipelines? sdk)", category
        )


def _forget(names: set[str], folders: Sequence[Path]) -> None:
    """Remove the user's own modules from `sys.modules`, from their packages, and from `linecache`.

    Args:
        names: the modules that were imported.
        folders: the user's folders.
    """
    for name in names:
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None) or ""
        places = [file, *_search_path(module)]
        if not any(is_below(place, folders) for place in places):
            continue
        del sys.modules[name]
        package, _, short_name = name.rpartition(".")
        if package in sys.modules:
            vars(sys.modules[package]).pop(short_name, None)
        linecache.cache.pop(file, None)


def _search_path(module: types.ModuleType | None) -> list[str]:
    """Return where a namespace package, which has no file, looks for its modules."""
    if getattr(module, "__file__", None):
        return []
    try:
        return [str(place) for place in getattr(module, "__path__", ())]
    # Some objects in sys.modules answer any attribute with something of their own.
    except Exception:
        return []


class _Loader(importlib.machinery.SourceFileLoader):
    """A loader that reads only source.

    Cached bytecode is found by the time of the source in whole seconds, so it may be that of an
    older text of the same second.

    Args:
        fullname: the name of the module.
        path: its file.
        files: receives the digest of the file.
    """

    def __init__(self, fullname: str, path: str, files: dict[str, str]) -> None:
        super().__init__(fullname, path)
        self._files = files

    def get_code(self, fullname: str) -> types.CodeType:
        """Return the compiled source, and record its digest."""
        path = self.get_filename(fullname)
        content = self.get_data(path)
        self._files[path] = digest_content(content)
        code: types.CodeType = self.source_to_code(content, path)
        return code


class _Finder:
    """A finder that replaces `PathFinder` and loads the modules of the user's folders from source.

    It finds modules as Python does.

    Args:
        path: the pipeline file.
        folders: the user's folders on the import path.
        files: receives the digests of the user's files that are loaded.
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
        """Return the spec of a module as `PathFinder` does, with our loader for the user's own."""
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
        """Forget the content of folders, as `PathFinder` does."""
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
