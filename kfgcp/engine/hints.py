"""Hints for the most common exceptions of tasks, those of code that works in a notebook and fails
in a pipeline.

A task's process reports its exception as data. A container leaves only its log, so for containers
the hint depends on the last line of the traceback there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfgcp import config
from kfgcp.engine.executors.base import TaskException
from kfgcp.errors import MissingExtra
from kfgcp.spec.local_modules import find_local
from kfgcp.spec.packages import package_name

COMPONENTS = "kfgcp_components"
"""The package of the ready-made components. The extra `components` installs what they import."""

_PLAIN_IMAGE = re.compile(r"(.*/)?python(:[^/]*)?")
"""Images with Python only, such as KFP's default image: they contain no libraries."""

_MISSING_MODULE = re.compile(r"ModuleNotFoundError: No module named '([^']+)'")
_MISSING_FILE = re.compile(r"FileNotFoundError: \[Errno 2\] No such file or directory: '([^']+)'")
_UNDEFINED_NAME = re.compile(r"NameError: name '([^']+)' is not defined\b")


@dataclass(frozen=True, slots=True)
class TaskPlace:
    """Where a task ran.

    Attributes:
        image: the image that a real backend would run it in.
        in_container: it ran in a container of that image.
        submit_dir: the folder that the run was submitted from.
        params: the values of its parameters.
    """

    image: str
    in_container: bool
    submit_dir: str
    params: Mapping[str, Any]


def hint_for(exception: TaskException, place: TaskPlace) -> str:
    """Return what the user can do about an exception of a task, "" for an unknown one."""
    if exception.missing_module:
        return _module_hint(exception, place)
    if exception.undefined_name and exception.in_component:
        return (
            "KFP ships only the function of a component, not the rest of its file: import or"
            f" define {exception.undefined_name} inside the function."
        )
    if exception.is_missing_file:
        return _file_hint(exception, place)
    return ""


def exception_in_log(lines: Sequence[str]) -> TaskException | None:
    """Return the exception in the last line of a log, None when it is not a known one.

    Args:
        lines: the last lines of the log of a container that failed.
    """
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    if (found := _MISSING_MODULE.match(last)) is not None:
        return TaskException(missing_module=found[1])
    if (found := _MISSING_FILE.match(last)) is not None:
        return TaskException(is_missing_file=True, missing_file=found[1])
    if (found := _UNDEFINED_NAME.match(last)) is not None:
        return TaskException(undefined_name=found[1], in_component=True)
    return None


def _module_hint(exception: TaskException, place: TaskPlace) -> str:
    module = exception.missing_module
    top = module.partition(".")[0]
    local = find_local(top, Path(), _project_folders(place.submit_dir))
    if local is not None:
        # A stranger may have published a package of that name, so none is suggested.
        return (
            f"{local.place} is on this machine, but KFP ships only the function of a component:"
            " move what it needs into the function, or build it into the component's image"
            " (target_image)."
        )
    if exception.raised_in == COMPONENTS:
        return f"The ready-made components need an extra: {MissingExtra.installing('components')}"
    package = "kfgcp[components]" if top == COMPONENTS else package_name(module)
    install = f'packages_to_install=["{package}"]'
    if place.in_container:
        return (
            f"{place.image} does not have it: use another base_image, or add {install} to the"
            " component."
        )
    if place.image and not _PLAIN_IMAGE.fullmatch(place.image):
        return (
            f"The base_image {place.image} is not used here, tasks run in this Python: add"
            f" {install} to the component, or run it in the image with --executor docker."
        )
    return f"Add {install} to the component."


def _file_hint(exception: TaskException, place: TaskPlace) -> str:
    if "://" in exception.missing_file:
        return (
            f"{exception.missing_file} is an address, not a file. Only artifacts at gs://, s3://"
            " and minio:// are copied for a task: import it with dsl.importer, or download it in"
            " the component."
        )
    file = _file_here(exception, place)
    if file is None:
        return ""
    if place.in_container:
        return (
            f"{file} is on this machine, but the container cannot see it: import it with"
            " dsl.importer."
        )
    return f"Tasks run in an empty folder: give an absolute path, such as {file}"


def _file_here(exception: TaskException, place: TaskPlace) -> Path | None:
    """Return the file or folder in the submit folder that a task's relative path means, None if
    there is none.

    Not every exception has the file as an attribute. Then parameters of the task are tried, if the
    message contains them or they look like a path. Other texts are not tried, because a word may be
    the name of a folder by chance.
    """
    names = [exception.missing_file]
    if not exception.missing_file:
        texts = [value for value in place.params.values() if isinstance(value, str)]
        names = [
            text for text in texts if text in exception.message or "/" in text or Path(text).suffix
        ]
    for name in names:
        if not 0 < len(name) < 4096 or "\0" in name or "://" in name:
            continue
        file = Path(place.submit_dir, name)
        try:
            is_here = not Path(name).is_absolute() and file.exists()
        except OSError:
            continue
        if is_here:
            return file
    return None


def _project_folders(submit_dir: str) -> list[Path]:
    folder = Path(submit_dir)
    project = config.project_folder(folder)
    return list(dict.fromkeys([folder, project or folder]))
