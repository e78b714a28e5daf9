"""Tell the user what to do about the most common exceptions of tasks.

Such exceptions come from code that works in a notebook but fails in a pipeline.

The process of a task reports its exception as data. A container has only a log. So for a container,
the exception is read from the last line of the log.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kfgcp import config
from kfgcp.engine.executors.base import TaskException
from kfgcp.errors import MissingExtra
from kfgcp.spec.local_modules import find_local
from kfgcp.spec.packages import package_name

COMPONENTS = "kfgcp_components"
"""The package of the ready-made components. The extra `components` installs the packages that they
import."""

_LONGEST_PATH: Final = 4096
"""PATH_MAX of Linux: a longer text cannot be the path of a file."""

_PLAIN_IMAGE: Final = re.compile(r"(.*/)?python(:[^/]*)?")
"""The names of images that contain Python but no libraries, such as KFP's default image."""

_MISSING_MODULE: Final = re.compile(r"ModuleNotFoundError: No module named '([^']+)'")
_MISSING_FILE: Final = re.compile(
    r"FileNotFoundError: \[Errno 2\] No such file or directory: '([^']+)'"
)
_READ_ONLY_FILE: Final = re.compile(r"OSError: \[Errno 30\] Read-only file system: '([^']+)'")
_UNDEFINED_NAME: Final = re.compile(r"NameError: name '([^']+)' is not defined\b")


@dataclass(frozen=True, slots=True)
class TaskPlace:
    """The place where a task ran.

    Attributes:
        image: the image of the task's container, also when the task did not run in a container.
        in_container: whether the task ran in a container of this image.
        submit_dir: the folder that the run was submitted from.
        params: the values of the task's input parameters.
    """

    image: str
    in_container: bool
    submit_dir: str
    params: Mapping[str, Any]


def hint_for(exception: TaskException, place: TaskPlace) -> str:
    """Return what the user can do about an exception of a task, "" when no hint is known."""
    if exception.missing_module:
        return _module_hint(exception, place)
    if exception.undefined_name and exception.in_component:
        return (
            "A task gets only the function of the component, not the rest of the file: import or"
            f" define {exception.undefined_name} inside the function."
        )
    if exception.is_missing_file:
        return _file_hint(exception, place)
    if exception.read_only_file and place.in_container:
        return _read_only_hint(exception, place)
    return ""


def exception_in_log(lines: Sequence[str]) -> TaskException | None:
    """Return the exception in the last line of a log, None when the line has no known exception.

    Args:
        lines: the last lines of the log of a container that failed.
    """
    text_lines = [line.strip() for line in lines if line.strip()]
    if not text_lines:
        return None
    last_line = text_lines[-1]
    match = _MISSING_MODULE.match(last_line)
    if match is not None:
        return TaskException(missing_module=match[1])
    match = _MISSING_FILE.match(last_line)
    if match is not None:
        return TaskException(is_missing_file=True, missing_file=match[1])
    match = _READ_ONLY_FILE.match(last_line)
    if match is not None:
        return TaskException(read_only_file=match[1])
    match = _UNDEFINED_NAME.match(last_line)
    if match is not None:
        return TaskException(undefined_name=match[1], in_component=True)
    return None


def _module_hint(exception: TaskException, place: TaskPlace) -> str:
    module = exception.missing_module
    top_level = module.partition(".")[0]
    local_module = find_local(top_level, Path(), _project_folders(place.submit_dir))
    if local_module is not None:
        # The hint does not suggest to install a package of this name. Somebody else may have
        # published one.
        if place.image and not place.in_container and not _PLAIN_IMAGE.fullmatch(place.image):
            return (
                f"{local_module.place} is on this machine, but this run does not use the base_image"
                f" {place.image}: use the image with --executor docker, or set PYTHONPATH to the"
                " folder with the module."
            )
        return (
            f"{local_module.place} is on this machine, but a task gets only the function of the"
            " component: move the code into the function, or build it into the image of the"
            " component, as in docs/guides/images.md."
        )
    if exception.raised_in == COMPONENTS:
        return f"The ready-made components need an extra: {MissingExtra.installing('components')}"
    package = "kfgcp[components]" if top_level == COMPONENTS else package_name(module)
    install = f'packages_to_install=["{package}"]'
    if place.in_container:
        return (
            f"The image {place.image} does not have {module}: use another base_image, or add"
            f" {install} to the component."
        )
    if place.image and not _PLAIN_IMAGE.fullmatch(place.image):
        return (
            f"This run does not use the base_image {place.image}: add {install} to the component,"
            " or use the image with --executor docker."
        )
    return f"Add {install} to the component."


def _file_hint(exception: TaskException, place: TaskPlace) -> str:
    if "://" in exception.missing_file:
        return (
            f"{exception.missing_file} is an address, not a file. For gs://, s3:// and minio://,"
            " import the file with dsl.importer. For other addresses, download the file in the"
            " component."
        )
    file = _find_local_file(exception, place)
    if file is None:
        return ""
    if place.in_container:
        return (
            f"{file} is on this machine, but the container cannot see the file: import it with"
            " dsl.importer."
        )
    return f"Tasks run in an empty folder: give an absolute path, such as {file}"


def _read_only_hint(exception: TaskException, place: TaskPlace) -> str:
    """Return how a container may write to a folder of the submit folder."""
    file = Path(exception.read_only_file)
    submit_folder = Path(place.submit_dir)
    if not file.is_relative_to(submit_folder) or file == submit_folder:
        return ""
    # The folder below the submit folder that contains the file, or the file's own name.
    folder = file.relative_to(submit_folder).parts[0]
    return (
        f"A container may not write to {submit_folder}. If {folder} is a folder for outputs, allow"
        f' it in kfgcp.toml, in the table of the environment: container_folders = ["{folder}"]'
    )


def _find_local_file(exception: TaskException, place: TaskPlace) -> Path | None:
    """Return the file or folder in the submit folder that a task did not find.

    If the exception does not have the path, the function tries the text parameters of the task
    which are in the message of the exception, or look like a path. It does not try other texts: a
    single word may be the name of a folder by chance.

    Returns:
        The absolute path. None when the path that the task used is not relative, or there is no
        such file.
    """
    paths = [exception.missing_file]
    if not exception.missing_file:
        texts = [value for value in place.params.values() if isinstance(value, str)]
        paths = [text for text in texts if text in exception.message or _looks_like_a_path(text)]
    for path in paths:
        if not _can_be_relative_path(path):
            continue
        file = Path(place.submit_dir, path)
        try:
            if file.exists():
                return file
        except OSError:
            continue
    return None


def _can_be_relative_path(text: str) -> bool:
    is_uri = "://" in text
    has_valid_length = 0 < len(text) < _LONGEST_PATH
    if is_uri or not has_valid_length or "\0" in text:
        return False
    return not Path(text).is_absolute()


def _looks_like_a_path(text: str) -> bool:
    return "/" in text or bool(Path(text).suffix)


def _project_folders(submit_dir: str) -> list[Path]:
    """Return the folders where the user may have modules: the submit folder and the project's."""
    folder = Path(submit_dir)
    project = config.project_folder(folder)
    if project is None or project == folder:
        return [folder]
    return [folder, project]
