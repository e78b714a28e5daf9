"""Pin the images of compiled pipelines, and say which of them a service cannot have.

A pin does not depend on the environment. So a pipeline has the same text, and the same version,
everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from kfgcp.backends.registry import runs_here
from kfgcp.config import COMPONENT_IMAGES, Environment, Project
from kfgcp.diagnosis.checks import Aside, Check
from kfgcp.errors import ConfigError, UsageError
from kfgcp.hosts import is_loopback
from kfgcp.rules.rule import Runner
from kfgcp.spec.image_names import bare_images, container_images, replace_images
from kfgcp.spec.load import Spec
from kfgcp.spec.unpinned_images import Unpinned, image_repositories, unpinned_images

if TYPE_CHECKING:
    from collections.abc import Callable

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


def stand_in_notes(spec: Spec, project: Project, env: Environment) -> list[str]:
    """Return a line for each image of a pipeline that is not pinned, for a stand-in.

    A stand-in runs pipelines on this machine, where nothing has to be pulled. For a service, the
    rule P130 refuses the run.

    Args:
        spec: the pipeline.
        project: the project.
        env: the environment that will run it.
    """
    if runner_of(env) is not Runner.STAND_IN:
        return []
    unpinned = _unpinned_images(spec, project)
    return [f"{image.problem} A service would refuse the run." for image in unpinned]


def require_pinned_images(spec: Spec, project: Project, env: Environment) -> None:
    """Refuse a pipeline with an image that is not pinned, for a service.

    Raises:
        UsageError: the service of the environment would have to pull such an image.
    """
    if runner_of(env) is not Runner.SERVICE:
        return
    for image in _unpinned_images(spec, project):
        raise UsageError(image.problem, hint=image.hint)


def _unpinned_images(spec: Spec, project: Project) -> list[Unpinned]:
    return unpinned_images(container_images(spec.pipeline_spec), image_repositories(project))


def runner_of(env: Environment) -> Runner:
    """Return what runs the pipelines of an environment."""
    if runs_here(env.backend):
        return Runner.THIS_MACHINE
    return Runner.STAND_IN if is_stand_in(env) else Runner.SERVICE


def doctor_checks(images: Iterable[str], project: Project, env: Environment) -> list[Check]:
    """Return the check of `kfgcp doctor` for images that cannot exist, no check without any.

    Args:
        images: the images of the pipeline.
        project: the project.
        env: the environment that will run it.
    """
    unpinned = unpinned_images(images, image_repositories(project))
    needs_registry = runner_of(env) is Runner.SERVICE
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
