"""Build and push the images of components, and pin them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

import click

from kfgcp.cli import options, output
from kfgcp.deploy.images.images import ImageInfo
from kfgcp.workspace import Workspace

P = ParamSpec("P")
R = TypeVar("R")

_names = click.argument("names", nargs=-1, metavar="[IMAGE]...")
_base = click.option(
    "--base",
    metavar="IMAGE",
    help="Begin with this image: the named images, or those of kfgcp. images.lock remembers it.",
)
_platform = click.option(
    "--platform",
    metavar="SYSTEM/PROCESSOR",
    help="The platform of the images; linux/amd64 by default. images.lock remembers it.",
)
_network = click.option("--network", metavar="NAME", help="The network of RUN lines, such as host.")


def _read_arguments(
    context: click.Context, parameter: click.Parameter, values: Sequence[str]
) -> dict[str, str]:
    """Return the values of --build-arg by the names of the arguments.

    As in `docker build`, a name alone takes its value from the environment variable.
    """
    arguments = {}
    for text in values:
        name, separator, value = text.partition("=")
        if not name:
            raise click.BadParameter(f"{text!r} is not NAME or NAME=VALUE.")
        if not separator:
            if name not in os.environ:
                raise click.BadParameter(
                    f"The environment variable {name} is not set. Set it, or write {name}=VALUE."
                )
            value = os.environ[name]
        arguments[name] = value
    return arguments


_arguments = click.option(
    "--build-arg",
    "arguments",
    multiple=True,
    metavar="NAME[=VALUE]",
    callback=_read_arguments,
    help="The value of an ARG line; may be given several times. images.lock records it. A name"
    " alone takes the value of the environment variable.",
)


def _build_options(command: Callable[P, R]) -> Callable[P, R]:
    """Give a command the options of builds."""
    for option in (options.as_json, _platform, _network, _arguments, _base):
        command = option(command)
    return command


@click.group(epilog="Example: kfgcp images push")
def command() -> None:
    """Build and push the images of components, and pin them.

    The images are `base`, `gcp` and `tabular` of kfgcp's components, and each [image.NAME] of
    kfgcp.toml. The tag of an image is made from the content that it is built from.

    images.lock records the digest of each image. Commit this file.
    """


@command.command(
    "list",
    short_help="Show images, and what images.lock knows of them.",
    epilog="Example: kfgcp images list",
)
@_names
@options.as_json
@options.workspace
def list_(workspace: Workspace, names: tuple[str, ...], as_json: bool) -> None:
    """Show the images of the project, and what images.lock knows of them.

    STATE is `pinned` when images.lock has the digest, `not pushed` when the image was only built,
    `other registry` when it was pushed to another image_registry, `changed` when files changed
    since then, or `not built`. Nothing is sent to a registry.
    """
    _print(workspace.images.list(*names), as_json)


@command.command(
    short_help="Write the newest digests to images.lock.",
    epilog="Example: kfgcp images lock --base mirror.acme.example/python:3.11-slim",
)
@_names
@_base
@_platform
@options.as_json
@options.workspace
def lock(
    workspace: Workspace,
    names: tuple[str, ...],
    base: str | None,
    platform: str | None,
    as_json: bool,
) -> None:
    """Write the digests that base images and images have now to images.lock.

    A newer base image changes the content of an image, so the image must be pushed again.
    """
    images = workspace.images.lock(*names, base=base, platform=platform)
    _print(images, as_json)
    if not as_json and any(not image.digest for image in images):
        output.hint("kfgcp images push")


@command.command(
    short_help="Build images with Docker.",
    epilog="Example: kfgcp images build tabular",
)
@_names
@_build_options
@options.workspace
def build(
    workspace: Workspace,
    names: tuple[str, ...],
    base: str | None,
    arguments: dict[str, str],
    network: str | None,
    platform: str | None,
    as_json: bool,
) -> None:
    """Build images with Docker, for runs on this machine with --executor docker.

    An image that this machine has is not built again. The output of Docker goes to stderr.
    """
    images = workspace.images.build(
        *names,
        base=base,
        arguments=arguments,
        network=network,
        platform=platform,
        log=_print_line,
    )
    _print(images, as_json)


@command.command(
    short_help="Build and push images, and lock their digests.",
    epilog="Example: kfgcp images push shop",
)
@_names
@_build_options
@options.workspace
def push(
    workspace: Workspace,
    names: tuple[str, ...],
    base: str | None,
    arguments: dict[str, str],
    network: str | None,
    platform: str | None,
    as_json: bool,
) -> None:
    """Build images and push them to image_registry, and write their digests to images.lock.

    An image that the registry has is neither built nor pushed.
    """
    images = workspace.images.push(
        *names,
        base=base,
        arguments=arguments,
        network=network,
        platform=platform,
        log=_print_line,
    )
    _print(images, as_json)


def _print_line(line: str) -> None:
    click.echo(output.plain(line), err=True)


def _print(images: Sequence[ImageInfo], as_json: bool) -> None:
    if as_json:
        output.print_json([image.to_dict() for image in images])
        return
    if any(image.action for image in images):
        rows = [(image.name, image.action, image.reference) for image in images]
        output.print_table(output.table(("IMAGE", "DONE", "REFERENCE"), rows))
        return
    states = [(image.name, image.tag, image.state, image.reference) for image in images]
    headers = ("IMAGE", "CONTENT", "STATE", "REFERENCE")
    # In a narrow terminal, only the reference is cut off. --json has all of it.
    output.print_table(output.table(headers, states, short=(3,)))
