"""The versions of pipelines in the registries of environments: push, list, get, diff, tag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kfgcp.atomic import write_file
from kfgcp.backends.versions import RegisteredVersion, SupportsVersions, short_version
from kfgcp.deploy.images.pins import require_pinned_images, stand_in_notes
from kfgcp.deploy.versions.names import VersionName, check_tag, is_fixed_tag, parse_version_name
from kfgcp.deploy.versions.push import Pushed, prepare_push, refuse_move, run_push, set_tags
from kfgcp.deploy.versions.resolve import find_version
from kfgcp.errors import StateError, UsageError
from kfgcp.settings import did_you_mean
from kfgcp.spec.load import Spec
from kfgcp.spec.write import to_yaml
from kfgcp.tracking import pipelines
from kfgcp.tracking.named_pipelines import check_environment
from kfgcp.tracking.open_project import OpenProject
from kfgcp.tracking.pipelines import Diff
from kfgcp.tracking.registries import open_registry, sent_spec


def push(
    workspace: OpenProject, spec: Spec, env: str | None = None, tags: Sequence[str] = ()
) -> Pushed:
    """Add a pipeline to the registry of an environment, and set tags.

    Args:
        workspace: the project.
        spec: the pipeline.
        env: the environment, the default one when None.
        tags: the tags to set.

    Raises:
        UsageError: see `Workspace.push`.
        BackendError: the registry refuses or cannot be reached.
    """
    project = workspace.project
    environment = project.env(env)
    if spec.entry is not None:
        check_environment(spec.entry, environment)
    require_pinned_images(spec, project, environment)
    notes = stand_in_notes(spec, project, environment)
    sent = sent_spec(environment, spec)
    prepared = prepare_push(project.name, spec, sent, to_yaml(sent), tags)
    registry = open_registry(workspace, environment.name)
    return run_push(registry, prepared, environment.name, notes)


class Versions:
    """The versions of pipelines in the registries of a project's environments.

    `env` is the name of an environment, and None is the default one. A name is `NAME@TAG`,
    `NAME@latest`, or `NAME@sha256:` and at least 8 digits.

    Example::

        kfgcp.Workspace.default().versions.get("churn@v1", env="dev").address
    """

    def __init__(self, workspace: OpenProject) -> None:
        self._workspace = workspace

    def list(self, pipeline: str | None = None, env: str | None = None) -> list[RegisteredVersion]:
        """Return the versions of a pipeline, the newest first.

        Args:
            pipeline: the name of the pipeline in the registry. None is all pipelines, by name.
            env: the environment.

        Raises:
            ConfigError: the environment does not exist or has no registry.
            BackendError: the registry refuses or cannot be reached.

        Example::

            [version.tags for version in workspace.versions.list("churn", env="dev")]
        """
        registry = open_registry(self._workspace, env)
        names = registry.list_pipelines() if pipeline is None else [pipeline]
        entries: list[RegisteredVersion] = []
        for name in names:
            entries.extend(registry.list_versions(name))
        return entries

    def get(self, name: str, env: str | None = None) -> RegisteredVersion:
        """Return the entry that a name means.

        Raises:
            UsageError: the registry does not have the pipeline, the tag or the version.
            BackendError: the registry refuses or cannot be reached.

        Example::

            workspace.versions.get("churn@stable", env="dev").version
        """
        parsed = parse_version_name(name)
        registry = open_registry(self._workspace, env)
        entry = self._find(registry, parsed, env)
        if not entry.version:
            # Another client pushed it.
            return entry
        # A list of a registry has only the first digits of a version.
        return registry.read(entry)[0]

    def diff(self, before: str, after: str, env: str | None = None) -> Diff:
        """Return what differs between two versions.

        Args:
            before: the name of a version, or anything that `Workspace.diff` takes.
            after: the same.
            env: the environment.

        Raises:
            UsageError: a registry does not have one of them.

        Example::

            workspace.versions.diff("churn@v1", "churn@latest", env="dev").changes
        """
        return pipelines.diff(self._workspace, before, after, env)

    def tag(
        self, name: str, tag: str, env: str | None = None, *, remove: bool = False
    ) -> RegisteredVersion:
        """Let a tag point to a version, and return the version with its tags.

        Args:
            name: the name of the version.
            tag: the tag. One that begins with `v` and a digit never moves.
            env: the environment.
            remove: remove the tag from the version instead.

        Raises:
            UsageError: the registry does not have the version, or the tag is not allowed. Nothing
                was written.
            Unsupported: the registry has no tags.

        Example::

            workspace.versions.tag("churn@latest", "stable", env="dev").tags
        """
        parsed = parse_version_name(name)
        check_tag(tag)
        registry = open_registry(self._workspace, env)
        entry = self._find(registry, parsed, env)
        if remove:
            return _remove_tag(registry, entry, tag)
        if tag in entry.tags:
            return entry
        refuse_move(tag, registry.list_versions(entry.pipeline), entry, entry.version)
        return set_tags(registry, entry, [tag])

    def download(self, name: str, output: str | Path | None = None, env: str | None = None) -> Path:
        """Write the text of a version to a file, exactly as the registry has it.

        Args:
            name: the name of the version.
            output: the file; `NAME-DIGITS.yaml` in the current folder when None.
            env: the environment.

        Returns:
            The file.

        Raises:
            UsageError: the registry does not have the version, or the name of the file does not end
                in `.yaml` or `.yml`.
            StateError: the file cannot be written.

        Example::

            workspace.versions.download("churn@v1", "churn.yaml", env="dev")
        """
        parsed = parse_version_name(name)
        if output is not None and Path(output).suffix not in (".yaml", ".yml"):
            raise UsageError(
                f"{output} must end in .yaml, because the text of a version is YAML.",
                hint=f"Write it to: -o {Path(output).with_suffix('.yaml')}",
            )
        registry = open_registry(self._workspace, env)
        entry = self._find(registry, parsed, env)
        text = registry.read_text(entry)
        file = Path(output) if output is not None else Path(_file_name(parsed, entry))
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_file(file, text.encode())
        except OSError as error:
            raise StateError(
                f"{file} cannot be written: {error.strerror or error}.",
                hint="Choose another file with -o.",
            ) from error
        return file

    def _find(
        self, registry: SupportsVersions, name: VersionName, env: str | None
    ) -> RegisteredVersion:
        return find_version(registry, name, self._workspace.project.env(env).name)


def _file_name(name: VersionName, entry: RegisteredVersion) -> str:
    digits = short_version(entry).removeprefix("sha256:") if entry.version else name.value
    return f"{name.pipeline}-{digits.removeprefix('sha256:')}.yaml"


def _remove_tag(
    registry: SupportsVersions, entry: RegisteredVersion, tag: str
) -> RegisteredVersion:
    if is_fixed_tag(tag) and tag in entry.tags:
        raise UsageError(
            f"The tag {tag} of {entry.pipeline} cannot be removed.",
            hint="Tags that begin with v and a digit point to one version for ever.",
        )
    if tag not in entry.tags:
        names = f"Its tags: {', '.join(entry.tags)}." if entry.tags else "It has no tags."
        raise UsageError(
            f"{entry.pipeline} {short_version(entry)} does not have the tag {tag!r}.",
            hint=f"{did_you_mean(tag, entry.tags)}{names}",
        )
    registry.remove_tag(entry, tag)
    tags = tuple(other for other in entry.tags if other != tag)
    return replace(entry, tags=tags)
