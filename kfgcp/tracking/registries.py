"""Load pipelines from the registries of environments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kfgcp.backends.base import capability
from kfgcp.backends.registry import runs_here
from kfgcp.backends.versions import SupportsVersions
from kfgcp.config import Environment
from kfgcp.deploy.versions.names import parse_version_name
from kfgcp.deploy.versions.resolve import check_digits, find_version, read_spec
from kfgcp.errors import ConfigError
from kfgcp.spec.load import Spec
from kfgcp.tracking.open_project import OpenProject
from kfgcp.tracking.translation import translate_for


def open_registry(workspace: OpenProject, env: str | None) -> SupportsVersions:
    """Return the registry of an environment.

    Raises:
        ConfigError: there is no such environment, or its backend has no registry.
    """
    environment = workspace.project.env(env)
    registry = capability(workspace.backend(environment.name), SupportsVersions)
    if registry is None:
        raise ConfigError(
            f"The environment '{environment.name}' has no registry of versions.",
            hint=f"The backend '{environment.backend}' does not support versions. Choose another"
            " environment with --env.",
        )
    return registry


def load_version(workspace: OpenProject, name: str, env: str | None) -> Spec:
    """Return the pipeline that `NAME@…` means in the registry of an environment.

    Raises:
        UsageError: the registry does not have it. The message names similar ones.
        BackendError: the registry refuses or cannot be reached.
    """
    version_name = parse_version_name(name)
    registry = open_registry(workspace, env)
    env_name = workspace.project.env(env).name
    entry = find_version(registry, version_name, env_name)

    def recorded_versions(prefix: str) -> Sequence[str]:
        store = workspace.recorded_store
        return store.versions(prefix) if store is not None else ()

    spec = read_spec(registry, entry, name, recorded_versions)
    check_digits(version_name, spec)
    if spec.registered is None:
        return spec
    return replace(spec, registered=replace(spec.registered, env=env_name))


def with_template(workspace: OpenProject, spec: Spec, env: str) -> Spec:
    """Return the pipeline of a recorded run of a version as its registry has it.

    The store keeps one pipeline for a version, and prefers the one before the translation. It must
    not be sent together with the address of a text that was translated in another way.

    Args:
        workspace: the project.
        spec: the recorded pipeline, with `Spec.registered`.
        env: the environment with the registry.

    Returns:
        The pipeline with `Spec.template`. When the registry does not have the text any more, the
        recorded pipeline without a template.

    Raises:
        BackendError: the registry refuses or cannot be reached.
    """
    registered = spec.registered
    if registered is None:
        return spec
    translated = translate_for(workspace.project.env(env), spec)
    if translated is None or not translated.changes:
        return replace(spec, template=registered.address)
    registry = open_registry(workspace, env)
    for entry in registry.list_versions(spec.name):
        if entry.ref == registered.ref:
            return replace(read_spec(registry, entry, spec.origin), registered=registered)
    return spec


def sent_spec(environment: Environment, spec: Spec) -> Spec:
    """Return the pipeline as the backend of an environment gets it.

    The engine of this machine reads the requests of a pipeline itself, so nothing is translated.
    """
    if runs_here(environment.backend):
        return spec
    translated = translate_for(environment, spec)
    if translated is None or not translated.changes:
        return spec
    return replace(
        spec,
        pipeline_spec=dict(translated.pipeline_spec),
        platform_spec=translated.platform_spec,
    )
