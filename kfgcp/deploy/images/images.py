"""The verbs for images: list, lock, build and push."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kfgcp.config import Project
from kfgcp.deploy.images.catalogue import Catalogue, Image
from kfgcp.deploy.images.lock import Locked, write_lock
from kfgcp.errors import ConfigError, UsageError
from kfgcp.model import JsonValue

if TYPE_CHECKING:
    from kfgcp.deploy.images.docker_images import DockerImages


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """An image of a project.

    Attributes:
        name: its name in components and in kfgcp.toml: `tabular`.
        reference: the image as compiled pipelines name it.
        state: `pinned` (images.lock has the digest), `not pushed` (it has only the content),
            `changed` (it has another content) or `not built` (it does not have the image).
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

    def lock(self, *names: str, base: str | None = None) -> Sequence[ImageInfo]:
        """Write the newest digests of base images, and the digests in the registry, to images.lock.

        Args:
            names: the names of images; all when empty.
            base: begin with this image from now on.

        Raises:
            UsageError: the project has no image with this name, or its Dockerfile lacks `ARG BASE`.
            BackendError: a registry refused the question. images.lock is unchanged.
            MissingExtra: the docker package is not installed.
        """
        project = self._read_project()
        with _open_docker(_ignore_line) as docker:
            catalogue = _resolve_bases(project, names, docker, base, newest=True)
            infos = []
            for image in _with_parents(catalogue, names):
                digest = None
                if project.image_registry is not None:
                    digest = docker.registry_digest(image.tagged)
                infos.append(_lock_image(catalogue, image, digest or "", "locked"))
        write_lock(project.root, catalogue.locked)
        return infos

    def build(
        self,
        *names: str,
        base: str | None = None,
        arguments: Mapping[str, str] | None = None,
        network: str | None = None,
        log: Callable[[str], None] = _ignore_line,
    ) -> Sequence[ImageInfo]:
        """Build images with Docker, unless this machine has them.

        Args:
            names: the names of images; all when empty.
            base: begin with this image from now on.
            arguments: values of `ARG` lines of the Dockerfiles.
            network: the network of `RUN` lines: `host`, or a name as in `docker network ls`.
            log: takes each line of the output of Docker.

        Raises:
            UsageError: the project has no image with this name, or its Dockerfile lacks `ARG BASE`.
            BackendError: a Dockerfile fails. images.lock is unchanged.
            MissingExtra: the docker package is not installed.
        """
        project = self._read_project()
        with _open_docker(log) as docker:
            catalogue = _resolve_bases(project, names, docker, base)
            infos = []
            for image in _with_parents(catalogue, names):
                action = "found"
                if not docker.has(image.tagged):
                    docker.build(image, arguments or {}, network)
                    action = "built"
                infos.append(_lock_image(catalogue, image, image.digest, action))
        write_lock(project.root, catalogue.locked)
        return infos

    def push(
        self,
        *names: str,
        base: str | None = None,
        arguments: Mapping[str, str] | None = None,
        network: str | None = None,
        log: Callable[[str], None] = _ignore_line,
    ) -> Sequence[ImageInfo]:
        """Build and push images, unless the registry has them, and write images.lock.

        Args:
            names: the names of images; all when empty.
            base: as in `build`.
            arguments: as in `build`.
            network: as in `build`.
            log: takes each line of the output of Docker.

        Raises:
            ConfigError: kfgcp.toml has no image_registry.
            UsageError: the project has no image with this name, or its Dockerfile lacks `ARG BASE`.
            BackendError: a Dockerfile fails, or the registry refused an image. images.lock is
                unchanged.
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
        with _open_docker(log) as docker:
            catalogue = _resolve_bases(project, names, docker, base)
            infos = []
            for image in _with_parents(catalogue, names):
                digest = docker.registry_digest(image.tagged)
                action = "found"
                if digest is None:
                    if not docker.has(image.tagged):
                        docker.build(image, arguments or {}, network)
                    digest = docker.push(image)
                    action = "pushed"
                infos.append(_lock_image(catalogue, image, digest, action))
        write_lock(project.root, catalogue.locked)
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


def _resolve_bases(
    project: Project,
    names: Sequence[str],
    docker: DockerImages,
    base: str | None,
    *,
    newest: bool = False,
) -> Catalogue:
    """Return the images with the digests of the images that they begin with.

    Args:
        project: the project.
        names: the names of images; all when empty.
        docker: asks for digests.
        base: the image to begin with, None for that of images.lock or of the Dockerfile.
        newest: ask for all digests, also for those that images.lock has.
    """
    catalogue = Catalogue(project)
    chosen_names = _choose(catalogue, names)
    bases: dict[str, tuple[str, str]] = {}
    digests: dict[str, str] = {}
    for image in _with_parents(catalogue, names):
        if image.base_image is not None:
            continue
        if not image.base:
            if base is not None and names and image.name in chosen_names:
                raise UsageError(
                    f"The Dockerfile of the image {image.name} has no line ARG BASE=IMAGE.",
                    hint="Begin it with: ARG BASE=python:3.11-slim, then FROM ${BASE}",
                )
            continue
        name = base or _locked_base(image) or image.base
        is_known = bool(image.base_digest) and name == image.base
        if is_known and not newest:
            continue
        if name not in digests:
            digests[name] = docker.resolve_base(name)
        bases[image.name] = (name, digests[name])
    return Catalogue(project, bases)


def _locked_base(image: Image) -> str:
    return image.locked.base if image.locked is not None else ""


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


def _lock_image(catalogue: Catalogue, image: Image, digest: str, action: str) -> ImageInfo:
    """Put an image into the entries for images.lock, and return it as it is then."""
    locked = Locked(image.content, digest)
    if image.base and image.base_image is None:
        locked = replace(locked, base=image.base, base_digest=image.base_digest)
    catalogue.locked[image.name] = locked
    return replace(_describe(replace(image, locked=locked)), action=action)


def _describe(image: Image) -> ImageInfo:
    return ImageInfo(
        image.name,
        image.reference,
        image.state,
        image.content,
        image.digest,
        image.base,
        image.base_digest,
    )
