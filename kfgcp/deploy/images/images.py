"""The verbs for images: list, lock, build and push."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from kfgcp.config import COMPONENT_IMAGES, Project
from kfgcp.deploy.images.arguments import check_arguments
from kfgcp.deploy.images.catalogue import (
    DEFAULT_PLATFORM,
    Catalogue,
    Image,
    content_tag,
)
from kfgcp.deploy.images.lock import Locked, update_lock
from kfgcp.errors import ConfigError, UsageError
from kfgcp.model import JsonValue

if TYPE_CHECKING:
    from kfgcp.deploy.images.docker_images import DockerImages

# A system, a processor, and for some a variant: linux/arm/v7.
_PLATFORM: Final = re.compile(r"[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?")


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """An image of a project.

    Attributes:
        name: its name in components and in kfgcp.toml: `tabular`.
        reference: the image as compiled pipelines name it.
        state: `pinned` (images.lock has the digest), `not pushed` (it has only the content),
            `other registry` (it has the digest in another image_registry), `changed` (it has
            another content) or `not built` (it does not have the image).
        content: the digest of everything that the image is built from.
        digest: the digest in the registry, "" unless it is pinned.
        base: the image that it begins with, "" when its Dockerfile has no `ARG BASE`.
        base_digest: the digest of that image, "" when it is not known.
        action: what was done: `built`, `pushed`, `locked`, or `found` when nothing had to be done;
            "" for a list.
    """

    name: str
    reference: str
    state: str
    content: str
    digest: str
    base: str
    base_digest: str
    action: str = ""

    @property
    def tag(self) -> str:
        """The tag of the image: `c-` and 12 digits of its content."""
        return content_tag(self.content)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the image as JSON, in the form that `kfgcp images list --json` prints."""
        return {name: getattr(self, name) for name in self.__slots__}


def _ignore_line(line: str) -> None:
    """Take a line of the output of Docker, and do nothing with it."""


class Images:
    """The images of a project: those of kfgcp, and the tables [image.NAME] of kfgcp.toml.

    Example::

        kfgcp.Workspace.default().images.push("shop")[0].digest
    """

    def __init__(self, read_project: Callable[[], Project]) -> None:
        self._read_project = read_project

    def list(self, *names: str) -> Sequence[ImageInfo]:
        """Return images, without a question to Docker or to a registry.

        Args:
            names: the names of images; all when empty.

        Raises:
            UsageError: the project has no image with this name.
            ConfigError: images.lock is not valid, or the files of an image cannot be read.
        """
        catalogue = Catalogue(self._read_project())
        return [_describe(catalogue.image(name)) for name in _choose(catalogue, names)]

    def lock(
        self, *names: str, base: str | None = None, platform: str | None = None
    ) -> Sequence[ImageInfo]:
        """Write the newest digests of base images, and the digests in the registry, to images.lock.

        Args:
            names: the names of images; all when empty.
            base: begin with this image from now on: the named images, or those of kfgcp.
            platform: the system and processor of the images from now on, such as `linux/arm64`.
                None is the platform of images.lock. Without one, it is `linux/amd64`.

        Raises:
            UsageError: the project has no image with this name, it cannot have another base, or
                `platform` is not a platform.
            BackendError: a registry refused the question. images.lock is unchanged.
            MissingExtra: the docker package is not installed.
        """
        project = self._read_project()
        catalogue = _open_catalogue(project, names, {}, platform)
        with _open_docker(_ignore_line) as docker:
            catalogue = _resolve_bases(catalogue, names, docker, base, newest=True)
            entries = {}
            images = _with_parents(catalogue, names)
            for image in images:
                digest = None
                if project.image_registry is not None:
                    digest = docker.registry_digest(image.tagged)
                entries[image.name] = _lock_entry(image, digest or "")
        locked = update_lock(project.root, project.home, entries, catalogue.locked)
        return [_describe(replace(image, locked=locked[image.name]), "locked") for image in images]

    def build(
        self,
        *names: str,
        base: str | None = None,
        arguments: Mapping[str, str] | None = None,
        network: str | None = None,
        platform: str | None = None,
        log: Callable[[str], None] = _ignore_line,
    ) -> Sequence[ImageInfo]:
        """Build images with Docker, unless this machine has them.

        Args:
            names: the names of images; all when empty.
            base: as in `lock`.
            arguments: values of `ARG` lines of the Dockerfiles. images.lock remembers them, except
                those about proxies and package indexes.
            network: the network of `RUN` lines: `host`, or a name as in `docker network ls`.
            platform: as in `lock`.
            log: takes each line of the output of Docker.

        Raises:
            UsageError: the project has no image with this name, it cannot have another base, no
                Dockerfile has one of the arguments, an image would show the password in an
                argument, or `platform` is not a platform.
            ConfigError: a file changed while it was packed.
            BackendError: a Dockerfile fails. images.lock has the images that were built before.
            MissingExtra: the docker package is not installed.
        """
        project = self._read_project()
        argument_values = arguments or {}
        with _open_docker(log) as docker:
            catalogue = _open_catalogue(project, names, argument_values, platform)
            catalogue = _resolve_bases(catalogue, names, docker, base)
            infos = []
            for image in _with_parents(catalogue, names):
                action = "found"
                if not docker.has(image.tagged):
                    docker.build(image, argument_values, network)
                    action = "built"
                infos.append(_record(project, image, image.digest, action))
        return infos

    def push(
        self,
        *names: str,
        base: str | None = None,
        arguments: Mapping[str, str] | None = None,
        network: str | None = None,
        platform: str | None = None,
        log: Callable[[str], None] = _ignore_line,
    ) -> Sequence[ImageInfo]:
        """Build and push images, unless the registry has them, and write images.lock.

        Args:
            names: the names of images; all when empty.
            base: as in `build`.
            arguments: as in `build`.
            network: as in `build`.
            platform: as in `build`.
            log: takes each line of the output of Docker.

        Raises:
            ConfigError: kfgcp.toml has no image_registry, or a file changed while it was packed.
            UsageError: as in `build`.
            BackendError: a Dockerfile fails, or the registry refused an image. images.lock has the
                images that were pushed before.
            MissingExtra: the docker package is not installed.
        """
        project = self._read_project()
        if project.image_registry is None:
            raise ConfigError(
                "kfgcp.toml has no image_registry, so images cannot be pushed.",
                hint=(
                    "Add it to [project]:"
                    ' image_registry = "europe-west4-docker.pkg.dev/PROJECT/REPOSITORY"'
                ),
            )
        argument_values = arguments or {}
        with _open_docker(log) as docker:
            catalogue = _open_catalogue(project, names, argument_values, platform)
            catalogue = _resolve_bases(catalogue, names, docker, base)
            infos = []
            for image in _with_parents(catalogue, names):
                digest = docker.registry_digest(image.tagged)
                action = "found"
                if digest is None:
                    if not docker.has(image.tagged):
                        docker.build(image, argument_values, network)
                    digest = docker.push(image)
                    action = "pushed"
                infos.append(_record(project, image, digest, action))
        return infos


@contextmanager
def _open_docker(log: Callable[[str], None]) -> Iterator[DockerImages]:
    # Imported only here, because most commands do not talk to Docker.
    from kfgcp.deploy.images.docker_images import DockerImages

    docker = DockerImages(log)
    try:
        yield docker
    finally:
        docker.close()


def _choose(catalogue: Catalogue, names: Sequence[str]) -> Sequence[str]:
    for name in names:
        catalogue.check_name(name)
    return names or catalogue.names


def _open_catalogue(
    project: Project, names: Sequence[str], arguments: Mapping[str, str], platform: str | None
) -> Catalogue:
    """Return the images with the values of arguments and with a platform.

    Raises:
        UsageError: an argument cannot be used, see `check_arguments`, or the platform is not one.
    """
    if platform is not None and not _PLATFORM.fullmatch(platform):
        raise UsageError(
            f"The platform {platform!r} is not a system and a processor.",
            hint="Write it as Docker does: --platform linux/arm64",
        )
    catalogue = Catalogue(project, arguments=arguments, platform=platform)
    check_arguments(arguments, _with_parents(catalogue, names))
    return catalogue


def _resolve_bases(
    catalogue: Catalogue,
    names: Sequence[str],
    docker: DockerImages,
    base: str | None,
    *,
    newest: bool = False,
) -> Catalogue:
    """Return the images with the digests of the images that they begin with.

    Args:
        catalogue: the images.
        names: the names of images; all when empty.
        docker: asks for digests.
        base: the image to begin with, None for that of images.lock or of the Dockerfile.
        newest: ask for all digests, also for those that images.lock has.

    Raises:
        UsageError: a named image cannot have another base.
    """
    # Without names, only the images of kfgcp: they all begin with the same image.
    with_base = frozenset(names or COMPONENT_IMAGES) if base is not None else frozenset()
    bases: dict[str, tuple[str, str]] = {}
    digests: dict[str, str] = {}
    for image in _with_parents(catalogue, names):
        if image.name in with_base:
            _require_own_base(image, base or "")
        if image.base_image is not None or not image.base:
            continue
        reference = image.base
        if base is not None and image.name in with_base:
            reference = base
        is_known = bool(image.base_digest) and reference == image.base
        if is_known and not newest:
            continue
        if reference not in digests:
            digests[reference] = docker.resolve_base(reference)
        bases[image.name] = (reference, digests[reference])
    return catalogue.with_bases(bases)


def _require_own_base(image: Image, base: str) -> None:
    """Refuse another base for an image that has none, or that begins with one of the project.

    Raises:
        UsageError: it cannot have another base.
    """
    if image.base_image is not None:
        raise UsageError(
            f"The image {image.name} begins with the image {image.base_image}, so --base does not"
            " apply to it.",
            hint=f"Change the base of that image: kfgcp images lock {image.base_image}"
            f" --base {base}",
        )
    if not image.base:
        raise UsageError(
            f"The Dockerfile of the image {image.name} has no line ARG BASE=IMAGE.",
            hint="Begin it with: ARG BASE=python:3.11-slim, then FROM ${BASE}",
        )


def _with_parents(catalogue: Catalogue, names: Sequence[str]) -> Sequence[Image]:
    """Return images, each after the image of the project that it begins with."""
    images: dict[str, Image] = {}

    def add(name: str) -> None:
        image = catalogue.image(name)
        if image.base_image is not None:
            add(image.base_image)
        images.setdefault(name, image)

    for name in _choose(catalogue, names):
        add(name)
    return list(images.values())


def _record(project: Project, image: Image, digest: str, action: str) -> ImageInfo:
    """Write an image to images.lock, and return it as it is then."""
    entries = {image.name: _lock_entry(image, digest)}
    previous = {} if image.locked is None else {image.name: image.locked}
    locked = update_lock(project.root, project.home, entries, previous)
    return _describe(replace(image, locked=locked[image.name]), action)


def _lock_entry(image: Image, digest: str) -> Locked:
    """Return the entry of an image for images.lock."""
    entry = Locked(image.content, arguments=image.arguments)
    if image.platform != DEFAULT_PLATFORM:
        entry = replace(entry, platform=image.platform)
    if digest:
        entry = replace(entry, digest=digest, registry=image.registry)
    if image.base and image.base_image is None:
        entry = replace(entry, base=image.base, base_digest=image.base_digest)
        if image.base != image.default_base:
            entry = replace(entry, replaces=image.default_base)
    return entry


def _describe(image: Image, action: str = "") -> ImageInfo:
    return ImageInfo(
        image.name,
        image.reference,
        image.state,
        image.content,
        image.digest,
        image.base,
        image.base_digest,
        action,
    )
