"""Check the values of `ARG` lines before a build: an image must not show a password in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from kfgcp.deploy.images.catalogue import NETWORK_ARGUMENTS, Image
from kfgcp.deploy.images.dockerfile import BASE, argument_names, lasting_argument_names
from kfgcp.errors import UsageError
from kfgcp.settings import did_you_mean
from kfgcp.spec.credentials import has_credentials

_STAGE_HINT: Final = (
    "Install the packages in a separate stage, and copy them into the last stage: COPY"
    " --from=build. docs/guides/images.md has an example."
)


def check_arguments(arguments: Mapping[str, str], images: Sequence[Image]) -> None:
    """Refuse arguments that have no effect, or whose passwords would be recorded.

    Args:
        arguments: values of `ARG` lines, by their names.
        images: the images that are built with them.

    Raises:
        UsageError: no Dockerfile has the argument, it is BASE, or others would see its password.
    """
    declared: set[str] = set()
    for image in images:
        declared |= argument_names(image.context.dockerfile_text())
    for name, value in arguments.items():
        if name == BASE:
            raise UsageError(
                "The argument BASE is the image to begin with, so it has an option of its own.",
                hint=f"Give it with: --base {value}",
            )
        if name.upper() in NETWORK_ARGUMENTS:
            _refuse_lasting_password(name, value, images)
            continue
        if name not in declared:
            raise UsageError(
                f"No Dockerfile of these images has a line ARG {name}:"
                f" {', '.join(image.name for image in images)}.",
                hint=f"{did_you_mean(name, sorted(declared))}Add the line, or omit --build-arg.",
            )
        if has_credentials(value):
            raise UsageError(
                f"The value of --build-arg {name} has a user or a password, and images.lock would"
                " record it.",
                hint="Only the values of proxies and package indexes, such as PIP_INDEX_URL, are"
                " not recorded.",
            )


def _refuse_lasting_password(name: str, value: str, images: Sequence[Image]) -> None:
    """Refuse a password that everybody who gets the image can read.

    An image records the arguments of its own stages in its history (Dockerfile reference, ARG).

    Raises:
        UsageError: the last stage of a Dockerfile has the argument.
    """
    if not has_credentials(value):
        return
    for image in images:
        if name in lasting_argument_names(image.context.dockerfile_text()):
            raise UsageError(
                f"The value of --build-arg {name} has a user or a password, and the history of the"
                f" image {image.name} would show it: the last stage of its Dockerfile has ARG"
                f" {name}.",
                hint=_STAGE_HINT,
            )
