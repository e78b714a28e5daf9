"""The images of a project: what each is built from, its content, and how a pipeline names it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from kfgcp.config import COMPONENT_IMAGES, COMPONENT_PREFIX, Project
from kfgcp.deploy.images.component_files import read_component_context
from kfgcp.deploy.images.context import Context, read_context
from kfgcp.deploy.images.dockerfile import argument_names, default_base, fixed_image
from kfgcp.deploy.images.lock import Locked, read_lock
from kfgcp.errors import ConfigError, UsageError
from kfgcp.settings import did_you_mean

# The number of digits of a content in a tag.
TAG_DIGITS: Final = 12

# The default nodes of Vertex AI and of GKE have this platform.
DEFAULT_PLATFORM: Final = "linux/amd64"

# Arguments that say how a build reaches the network. They do not change what is built, they differ
# between machines, and their values can have passwords. So they are not part of a content. The
# proxies are those that Docker leaves out of its cache ("Predefined ARGs" of its documentation).
NETWORK_ARGUMENTS: Final = frozenset(
    {
        "ALL_PROXY",
        "FTP_PROXY",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "NO_PROXY",
        "PIP_CERT",
        "PIP_EXTRA_INDEX_URL",
        "PIP_INDEX_URL",
        "PIP_TRUSTED_HOST",
        "UV_DEFAULT_INDEX",
        "UV_EXTRA_INDEX_URL",
        "UV_INDEX",
        "UV_INDEX_URL",
    }
)


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
        registry: the image_registry of the project, "" without one.
        default_base: the image of `ARG BASE` in the Dockerfile, "" without such a line.
        arguments: the values of `ARG` lines that are part of the content, by their names.
        platform: the system and the processor that the image is for: `linux/amd64`.
    """

    name: str
    repository: str
    context: Context
    base: str
    base_digest: str
    base_image: str | None
    content: str
    locked: Locked | None
    registry: str = ""
    default_base: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    platform: str = DEFAULT_PLATFORM

    @property
    def tag(self) -> str:
        """The tag of the image: `c-` and 12 digits of its content."""
        return content_tag(self.content)

    @property
    def tagged(self) -> str:
        """The image with its tag."""
        return f"{self.repository}:{self.tag}"

    @property
    def digest(self) -> str:
        """The digest in the registry, "" unless images.lock has it for this content there."""
        locked = self.locked
        if locked is None or locked.content != self.content or locked.registry != self.registry:
            return ""
        return locked.digest

    @property
    def reference(self) -> str:
        """The image as a compiled pipeline names it."""
        # A digest without a registry would be looked for in Docker's own registry.
        has_registry = "/" in self.repository
        return f"{self.repository}@{self.digest}" if self.digest and has_registry else self.tagged

    @property
    def state(self) -> str:
        """What images.lock knows of the image, see `ImageInfo.state`."""
        if self.locked is None:
            return "not built"
        if self.locked.content != self.content:
            return "changed"
        if self.locked.digest and self.locked.registry != self.registry:
            return "other registry"
        return "pinned" if self.digest else "not pushed"


def content_tag(content: str) -> str:
    """Return the tag of a content: `c-` and its first 12 digits."""
    return f"c-{content.removeprefix('sha256:')[:TAG_DIGITS]}"


class Catalogue:
    """All images of a project. Each is read when it is first needed.

    Args:
        project: the project.
        bases: image -> the image that it begins with, and its digest. They replace those of
            images.lock.
        arguments: values of `ARG` lines. They replace those of images.lock.
        contexts: image -> what it is built from, for images that were read before.
        platform: the platform of the images, None for those of images.lock.

    Raises:
        ConfigError: images.lock is not valid.
    """

    def __init__(
        self,
        project: Project,
        bases: Mapping[str, tuple[str, str]] | None = None,
        arguments: Mapping[str, str] | None = None,
        contexts: Mapping[str, Context] | None = None,
        platform: str | None = None,
    ) -> None:
        self._project = project
        self._bases = bases or {}
        self._arguments = arguments or {}
        self._platform = platform
        self.locked = read_lock(project.root)
        self._images: dict[str, Image] = {}
        self._contexts: dict[str, Context] = dict(contexts or {})

    def with_bases(self, bases: Mapping[str, tuple[str, str]]) -> Catalogue:
        """Return a catalogue with other bases. Files that were read are not read again."""
        return Catalogue(self._project, bases, self._arguments, self._contexts, self._platform)

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
        last_part = f"{COMPONENT_PREFIX}{name}" if name in COMPONENT_IMAGES else name
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
        text = context.dockerfile_text()
        locked = self.locked.get(name)
        default = default_base(text)
        self._refuse_fixed_image(text, context)
        base, base_digest = default, ""
        platform = self._choose_platform(locked)
        base_image = default if default in self.names else None
        if base_image is not None:
            # The content of that image includes its own base, so no registry has to be asked.
            parent = self._image(base_image, users + (name,))
            base, base_digest = parent.tagged, parent.content
            platform = parent.platform
        elif name in self._bases:
            base, base_digest = self._bases[name]
        elif locked is not None and locked.base and (locked.replaces or locked.base) == default:
            base, base_digest = locked.base, locked.base_digest
        arguments = self._choose_arguments(text, locked)
        # The name of the registry is left out: another registry does not make another image.
        identity = f"kfgcp-image 1\n{base_image or base}\n{base_digest}\n{context.digest}\n"
        identity += f"platform {platform}\n"
        for argument in sorted(arguments):
            identity += f"argument {argument} {json.dumps(arguments[argument])}\n"
        content = f"sha256:{hashlib.sha256(identity.encode()).hexdigest()}"
        return Image(
            name,
            self.repository(name),
            context,
            base,
            base_digest,
            base_image,
            content,
            locked,
            registry=self._project.image_registry or "",
            default_base=default,
            arguments=arguments,
            platform=platform,
        )

    def _choose_platform(self, locked: Locked | None) -> str:
        """Return the platform of an image that does not begin with another one of the project."""
        locked_platform = locked.platform if locked is not None else ""
        return self._platform or locked_platform or DEFAULT_PLATFORM

    def _refuse_fixed_image(self, text: str, context: Context) -> None:
        fixed = fixed_image(text, self.names)
        if fixed is None:
            return
        hint = f"Begin it with: ARG BASE={fixed.name}, then FROM ${{BASE}}"
        if not fixed.line.startswith("FROM"):
            hint += " AS source, and name that stage: from=source"
        raise ConfigError(
            f"{context.where}: the Dockerfile has {fixed.line}, which Docker would look for in its"
            " own registry.",
            hint=hint,
        )

    def _choose_arguments(self, text: str, locked: Locked | None) -> dict[str, str]:
        """Return the arguments of an image: the given ones, else those of images.lock."""
        arguments = {}
        for name in argument_names(text):
            value = self._arguments.get(name)
            if value is None and locked is not None:
                value = locked.arguments.get(name)
            if value is not None and name.upper() not in NETWORK_ARGUMENTS:
                arguments[name] = value
        return arguments
