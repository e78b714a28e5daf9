"""The images of a project: what each is built from, its content, and how a pipeline names it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from kfgcp.config import COMPONENT_IMAGES, Project
from kfgcp.deploy.images.component_files import read_component_context
from kfgcp.deploy.images.context import Context, read_context
from kfgcp.deploy.images.lock import Locked, read_lock
from kfgcp.errors import ConfigError, UsageError
from kfgcp.settings import did_you_mean

# The number of digits of a content in a tag.
TAG_DIGITS: Final = 12

_COMPONENT_PREFIX: Final = "components-"
_BASE_ARGUMENT: Final = re.compile(r"^[ \t]*ARG[ \t]+BASE=(\S+)", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Image:
    """An image of a project.

    Attributes:
        name: the name in components and in kfgcp.toml: `tabular`.
        repository: where the image is, without a tag: `REGISTRY/components-tabular`.
        context: what the image is built from.
        base: the image that it begins with, "" when its Dockerfile has no `ARG BASE`.
        base_digest: the digest of that image, "" when it is not known.
        base_image: the name of the project's image that it begins with, None for another image.
        content: the digest of everything that the image is built from.
        locked: what images.lock knows of the image, None when it does not have it.
    """

    name: str
    repository: str
    context: Context
    base: str
    base_digest: str
    base_image: str | None
    content: str
    locked: Locked | None

    @property
    def tag(self) -> str:
        """The tag of the image: `c-` and 12 digits of its content."""
        return f"c-{self.content.removeprefix('sha256:')[:TAG_DIGITS]}"

    @property
    def tagged(self) -> str:
        """The image with its tag."""
        return f"{self.repository}:{self.tag}"

    @property
    def digest(self) -> str:
        """The digest in the registry, "" unless images.lock has it for this content."""
        is_current = self.locked is not None and self.locked.content == self.content
        return self.locked.digest if self.locked is not None and is_current else ""

    @property
    def reference(self) -> str:
        """The image as a compiled pipeline names it."""
        # A digest without a registry would be looked for in Docker's own registry.
        has_registry = "/" in self.repository
        return f"{self.repository}@{self.digest}" if self.digest and has_registry else self.tagged

    @property
    def state(self) -> str:
        """What images.lock knows: `pinned`, `not pushed`, `changed` or `not built`."""
        if self.locked is None:
            return "not built"
        if self.locked.content != self.content:
            return "changed"
        return "pinned" if self.digest else "not pushed"


class Catalogue:
    """All images of a project. Each is read when it is first needed.

    Args:
        project: the project.
        bases: image -> the image that it begins with, and its digest. They replace those of
            images.lock.

    Raises:
        ConfigError: images.lock is not valid.
    """

    def __init__(
        self, project: Project, bases: Mapping[str, tuple[str, str]] | None = None
    ) -> None:
        self._project = project
        self._bases = bases or {}
        self.locked = read_lock(project.root)
        self._images: dict[str, Image] = {}
        self._contexts: dict[str, Context] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all images: those of kfgcp, then those of the project."""
        return COMPONENT_IMAGES + tuple(sorted(self._project.images))

    def check_name(self, name: str) -> None:
        """Check that there is an image with a name.

        Raises:
            UsageError: there is none.
        """
        if name not in self.names:
            raise UsageError(
                f"There is no image '{name}'.",
                hint=(
                    f"{did_you_mean(name, self.names)}Images: {', '.join(self.names)}. Add one as"
                    f" [image.{name}] in kfgcp.toml."
                ),
            )

    def repository(self, name: str) -> str:
        """Return where an image is, without a tag."""
        last_part = f"{_COMPONENT_PREFIX}{name}" if name in COMPONENT_IMAGES else name
        registry = self._project.image_registry
        return last_part if registry is None else f"{registry}/{last_part}"

    def image(self, name: str) -> Image:
        """Return an image.

        Raises:
            UsageError: the project has no image with this name.
            ConfigError: its files cannot be read, or images begin with each other.
        """
        self.check_name(name)
        return self._image(name, ())

    def context(self, name: str) -> Context:
        """Return what an image is built from.

        Raises:
            ConfigError: the files cannot be read.
        """
        if name not in self._contexts:
            if name in COMPONENT_IMAGES:
                self._contexts[name] = read_component_context(name)
            else:
                source = self._project.images[name]
                file = self._project.file.name if self._project.file else "kfgcp.toml"
                where = f"{file} [image.{name}]"
                self._contexts[name] = read_context(
                    source.context, source.dockerfile, where, self._project.home
                )
        return self._contexts[name]

    def default_base(self, name: str) -> str:
        """Return the image that a Dockerfile begins with, "" when it has no `ARG BASE`."""
        match = _BASE_ARGUMENT.search(self.context(name).dockerfile_text())
        return match[1].strip("\"'") if match else ""

    def _image(self, name: str, users: tuple[str, ...]) -> Image:
        """Return an image. users: the images that begin with it, and are being read."""
        if name in users:
            names = " -> ".join(users + (name,))
            raise ConfigError(
                f"These images begin with each other: {names}.",
                hint="Change ARG BASE in one of their Dockerfiles.",
            )
        if name not in self._images:
            self._images[name] = self._read(name, users)
        return self._images[name]

    def _read(self, name: str, users: tuple[str, ...]) -> Image:
        context = self.context(name)
        locked = self.locked.get(name)
        base = self.default_base(name)
        base_image = base if base in self.names else None
        base_digest = ""
        if base_image is not None:
            # The content of that image includes its own base, so no registry has to be asked.
            parent = self._image(base_image, users + (name,))
            base, base_digest = parent.tagged, parent.content
        elif name in self._bases:
            base, base_digest = self._bases[name]
        elif base and locked is not None and locked.base_digest:
            base, base_digest = locked.base, locked.base_digest
        # The name of the registry is left out: another registry does not make another image.
        base_name = base_image or base
        text = f"kfgcp-image 1\n{base_name}\n{base_digest}\n{context.digest}\n"
        content = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
        return Image(
            name,
            self.repository(name),
            context,
            base,
            base_digest,
            base_image,
            content,
            locked,
        )
