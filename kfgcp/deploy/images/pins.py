"""Pin the images of compiled pipelines, and say which of them a service cannot have.

A pin does not depend on the environment. So a pipeline has the same text, and the same version,
everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from kfgcp.config import COMPONENT_IMAGES, Environment, Project
from kfgcp.diagnosis.checks import Aside, Check
from kfgcp.errors import ConfigError, UsageError
from kfgcp.hosts import is_loopback
from kfgcp.spec.image_names import bare_images, container_images, replace_images
from kfgcp.spec.load import Spec

if TYPE_CHECKING:
    from collections.abc import Callable

# An image with the tag of a content, see `Image.tag`.
_CONTENT_TAG: Final = re.compile(r"(?:(?P<registry>.+)/)?(?P<name>[^/:@]+):c-[0-9a-f]{12}")

# The keys of an environment with the address of its service, the more special one first.
_ADDRESS_KEYS: Final = ("api_endpoint", "host")


def pin_images(spec: Spec, read_project: Callable[[], Project]) -> Spec:
    """Return a pipeline in which each name of an image is a reference to one image.

    Args:
        spec: the compiled pipeline. Images with a registry, a tag or a digest stay as they are.
        read_project: returns the project. It is called only when a name has to be looked up.

    Raises:
        ConfigError: kfgcp.toml or images.lock is not valid, or the files of an image cannot be
            read.
    """
    names = bare_images(spec.pipeline_spec)
    if not names:
        return spec
    project = read_project()
    own_names = names & (set(COMPONENT_IMAGES) | set(project.images))
    if not own_names:
        return spec
    # Imported only here: most pipelines name no image, and archives are slow to import.
    from kfgcp.deploy.images.catalogue import Catalogue

    catalogue = Catalogue(project)
    references = {name: catalogue.image(name).reference for name in own_names}
    return replace(spec, pipeline_spec=replace_images(spec.pipeline_spec, references))


@dataclass(frozen=True, slots=True)
class Unpinned:
    """An image that no registry is known to have.

    Attributes:
        image: the image, as the pipeline names it.
        problem: why a service may not find it, as a sentence.
        hint: what to do.
    """

    image: str
    problem: str
    hint: str


def unpinned_images(images: Iterable[str]) -> list[Unpinned]:
    """Return the images that have the tag of a content instead of a digest.

    Args:
        images: images of a compiled pipeline.

    Example:
        >>> unpinned_images(["python:3.12", "shop:c-0123456789ab"])[0].hint.splitlines()[0]
        'Add image_registry to [project] of kfgcp.toml, then: kfgcp images push shop'
    """
    unpinned = []
    for image in sorted(images):
        if image in COMPONENT_IMAGES:
            # A template that something else than kfgcp has compiled.
            problem = f"The image {image} is a name that only kfgcp can replace."
            unpinned.append(Unpinned(image, problem, "Compile the pipeline with kfgcp compile."))
            continue
        match = _CONTENT_TAG.fullmatch(image)
        if match is None:
            continue
        name = match["name"].removeprefix("components-")
        command = f"kfgcp images push {name}"
        if match["registry"] is None:
            problem = f"The image {image} is in no registry."
            hint = f"Add image_registry to [project] of kfgcp.toml, then: {command}"
        else:
            problem = f"The image {image} is not in images.lock, so it may not exist."
            hint = f"Push the image, and commit images.lock: {command}"
        unpinned.append(Unpinned(image, problem, hint))
    return unpinned


def check_images(spec: Spec, env: Environment, *, is_local: bool) -> list[str]:
    """Return a line for each image of a pipeline that is not pinned, for a stand-in.

    A stand-in runs pipelines on this machine, where nothing has to be pulled.

    Args:
        spec: the pipeline.
        env: the environment that will run it.
        is_local: whether the environment runs pipelines on this machine.

    Raises:
        UsageError: a service is about to get a pipeline with such an image.
    """
    if is_local:
        return []
    unpinned = unpinned_images(container_images(spec.pipeline_spec))
    if unpinned and not is_stand_in(env):
        raise UsageError(unpinned[0].problem, hint=unpinned[0].hint)
    return [f"{image.problem} A service would refuse the run." for image in unpinned]


def doctor_checks(images: Iterable[str], env: Environment, *, is_local: bool) -> list[Check]:
    """Return the check of `kfgcp doctor` for images that cannot exist, no check without any.

    Args:
        images: the images of the pipeline.
        env: the environment that will run it.
        is_local: whether the environment runs pipelines on this machine.
    """
    unpinned = unpinned_images(images)
    needs_registry = not (is_local or is_stand_in(env))
    return [("pins", partial(_check_pins, unpinned, needs_registry))] if unpinned else []


def _check_pins(unpinned: Sequence[Unpinned], needs_registry: bool) -> Aside:
    """Name the images that are not pinned.

    Raises:
        ConfigError: a service has to pull them.
    """
    problems = " ".join(image.problem for image in unpinned)
    hint = "\n".join(dict.fromkeys(image.hint for image in unpinned))
    if needs_registry:
        raise ConfigError(problems, hint=hint)
    return Aside(f"{problems} A service would refuse the run.", hint)


def is_stand_in(env: Environment) -> bool:
    """Return whether the service of an environment is a stand-in: its address is this machine.

    With auth = "port-forward", kubectl makes the address later.
    """
    for key in _ADDRESS_KEYS:
        address = env.get(key)
        if address:
            return is_loopback(address)
    return False
