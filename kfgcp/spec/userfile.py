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
    """Execute a Python file as a module. At its end, the context undoes its changes to the process.

    Within the context the folders of `import_folders` come first on `sys.path`, so that modules
    beside the file and in the user's project can be imported. Output to stdout goes to stderr.
    At the end of the context, Python forgets the file and the modules of these folders that it
    imported, so that the next import reads them again. Nothing is written beside the user's files.

    Args:
        path: the file.
        files: receives the digest of each of the user's files that is loaded, by its absolute path.

    Yields:
        The module.
    """
    path = Path(os.path.abspath(path))
    folders = import_folders(path)
    # The prefix is needed because the file may have the name of an installed module.
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
            # This comes before sys.path changes, because the search path of a namespace package
            # follows sys.path.
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
        if frame.filename == str(file) or _is_users_file(frame.filename, folders)
    ]


def _is_users_file(file: str | None, folders: Sequence[Path]) -> bool:
    """Return whether a file lies in one of the user's folders and belongs to the user.

    Installed packages, Python itself and kfgcp may also lie in such a folder, in a virtual
    environment for example. Their files do not belong to the user.
    """
    if not file:
        return False
    # Each prefix ends with a separator, because a file in /home/anna is not in /home/ann.
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
    # Python also does this before it runs a module. Dataclasses, for example, look up their module.
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
        places = [file] + _search_path(module)
        if not any(_is_users_file(place, folders) for place in places):
            continue
        del sys.modules[name]
        package, _, short_name = name.rpartition(".")
        if package in sys.modules:
            vars(sys.modules[package]).pop(short_name, None)
        linecache.cache.pop(file, None)


def _search_path(module: types.ModuleType | None) -> list[str]:
    """Return the folders of a namespace package, which has no file. Other modules have none: []."""
    if getattr(module, "__file__", None):
        return []
    try:
        return [str(place) for place in getattr(module, "__path__", ())]
    # Some objects in sys.modules have a value of their own for every attribute.
    except Exception:
        return []


class _Loader(importlib.machinery.SourceFileLoader):
    """A loader that reads the source and never cached bytecode.

    Python takes cached bytecode when the source has the same time in whole seconds. So after two
    changes within a second, the bytecode may be older than the source.

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
            # `import pandas` in a file called pandas.py means the installed package.
            own_folder = str(self._path.parent)
            other_folders = [entry for entry in (path or sys.path) if entry != own_folder]
            other_spec = importlib.machinery.PathFinder.find_spec(fullname, other_folders, target)
            spec = other_spec or spec
        if spec is None or self._is_folder_without_python(spec):
            return None
        is_source = type(spec.loader) is importlib.machinery.SourceFileLoader
        if is_source and _is_users_file(spec.origin, self._folders):
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
        """Return whether a namespace package is only a folder of the user without Python files.

        A project often has folders such as docker/ or terraform/. Python would import them as empty
        packages, and `try: import docker` would then succeed without the library.
        """
        if spec.loader is not None or spec.submodule_search_locations is None:
            return False
        for folder in list(spec.submodule_search_locations):
            if not _is_users_file(folder, self._folders) or has_python(Path(folder)):
                return False
        return True
