"""Find the entry of a registry that a name means, and read its pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from kfgcp.backends.versions import (
    SHORT_DIGITS,
    RegisteredVersion,
    digits,
    short_version,
)
from kfgcp.deploy.versions.names import NameKind, VersionName, looks_like_digits
from kfgcp.errors import UsageError
from kfgcp.settings import did_you_mean
from kfgcp.spec.digest import digest
from kfgcp.spec.load import Spec, from_text
from kfgcp.spec.registered import RegisteredRef


class ReadsVersions(Protocol):
    """The part of a registry that finds and reads versions, see `SupportsVersions`."""

    @property
    def registry(self) -> str:
        """The address of the registry, for messages."""

    def list_versions(self, pipeline: str) -> Sequence[RegisteredVersion]:
        """Return the versions of a pipeline, the newest first."""

    def list_pipelines(self) -> Sequence[str]:
        """Return the names of the pipelines in the registry, sorted."""

    def read(self, version: RegisteredVersion) -> tuple[RegisteredVersion, str]:
        """Return an entry with all digits of its version that the registry has, and its text."""


def find_version(registry: ReadsVersions, name: VersionName, env: str) -> RegisteredVersion:
    """Return the entry that a name means.

    When a version has several texts, because the translation of an environment changed, the entry
    is the newest one.

    Args:
        registry: the registry.
        name: the name.
        env: the name of the environment, for hints.

    Raises:
        UsageError: the registry does not have the pipeline, the tag or the version, or the digits
            can mean several versions. The message names similar ones.
        BackendError: the registry refuses or cannot be reached.
    """
    entries = registry.list_versions(name.pipeline)
    if not entries:
        names = registry.list_pipelines()
        raise UsageError(
            f"{registry.registry} has no version of a pipeline {name.pipeline!r}.",
            hint=_describe_pipelines(name.pipeline, names, env),
        )
    if name.kind is NameKind.LATEST:
        return entries[0]
    if name.kind is NameKind.TAG:
        return _find_tag(registry, name, entries, env)
    entry = _find_digest(registry, name, entries, env)
    if len(entry.version) < len(name.value):
        # A list has only a part of the version. The rest is in the text.
        check_digits(name, read_spec(registry, entry, str(name)))
    return entry


def check_digits(name: VersionName, spec: Spec) -> None:
    """Check that the pipeline of an entry has all digits of a name.

    Args:
        name: the name.
        spec: the result of `read_spec`. Its version can have fewer digits than the name.

    Raises:
        UsageError: it has other digits.
    """
    if name.kind is not NameKind.VERSION:
        return
    version = spec.version
    if version.startswith(name.value) or name.value.startswith(version):
        return
    raise UsageError(
        f"{name.pipeline} has no version {name.value}. The nearest one is {version}.",
        hint="Check the digits, or write fewer:"
        f" {name.pipeline}@sha256:{digits(version, SHORT_DIGITS)}",
    )


def read_spec(
    registry: ReadsVersions,
    entry: RegisteredVersion,
    origin: str,
    full_versions: Callable[[str], Sequence[str]] | None = None,
) -> Spec:
    """Return the pipeline of an entry, with `Spec.registered`.

    Args:
        registry: the registry.
        entry: the entry.
        origin: the pipeline as the user named it, for messages.
        full_versions: returns the recorded versions that begin with a text. It is only called when
            the registry has a part of the version, and the text is translated.

    Raises:
        BadAnswer: the text is not the one that was pushed.
        SpecError: the text is not a valid pipeline.
        NotFound: the entry does not exist any more.
    """
    entry, text = registry.read(entry)
    spec = from_text(text, origin)
    version = _full_version(entry, digest(spec.pipeline_spec), full_versions)
    registered = RegisteredRef(entry.ref, version, entry.address)
    return replace(spec, template=entry.template or None, registered=registered)


def _full_version(
    entry: RegisteredVersion,
    text_version: str,
    full_versions: Callable[[str], Sequence[str]] | None,
) -> str:
    """Return the version of an entry with as many digits as possible.

    Args:
        entry: the entry.
        text_version: the digest of the pipeline in its text.
        full_versions: see `read_spec`.
    """
    if not entry.version or entry.has_version(text_version):
        return text_version
    if full_versions is not None and len(entry.version) < len(text_version):
        recorded = full_versions(entry.version)
        if len(recorded) == 1:
            return recorded[0]
    return entry.version


def _find_tag(
    registry: ReadsVersions, name: VersionName, entries: Sequence[RegisteredVersion], env: str
) -> RegisteredVersion:
    for entry in entries:
        if name.value in entry.tags:
            return entry
    tags = sorted({tag for entry in entries for tag in entry.tags})
    listing = f"Its tags: {', '.join(tags)}." if tags else "It has no tags."
    suggestion = did_you_mean(name.value, tags)
    if looks_like_digits(name.value):
        suggestion = f"For a version, write {name.pipeline}@sha256:{name.value}. "
    raise UsageError(
        f"{name.pipeline} has no tag {name.value!r} in {registry.registry}.",
        hint=f"{suggestion}{listing} All versions: {_list_command(env, name.pipeline)}",
    )


def _find_digest(
    registry: ReadsVersions, name: VersionName, entries: Sequence[RegisteredVersion], env: str
) -> RegisteredVersion:
    matches = [entry for entry in entries if entry.has_version(name.value)]
    # The same version can have several texts, so versions are compared and not entries.
    versions = sorted({digits(entry.version, 12) for entry in matches})
    if len(versions) > 1:
        raise UsageError(
            f"{name} can mean {len(versions)} versions: {', '.join(versions)}.",
            hint="Write more digits.",
        )
    if matches:
        return matches[0]
    newest = ", ".join(dict.fromkeys(_versions_of(entries[:5])))
    raise UsageError(
        f"{name.pipeline} has no version {name.value} in {registry.registry}.",
        hint=f"The newest: {newest}. All versions: {_list_command(env, name.pipeline)}",
    )


def _versions_of(entries: Iterable[RegisteredVersion]) -> list[str]:
    return [short_version(entry) for entry in entries]


def _list_command(env: str, pipeline: str = "") -> str:
    words = f"kfgcp version list {pipeline}".strip()
    return f"{words} --env {env}"


def _describe_pipelines(name: str, pipelines: Sequence[str], env: str) -> str:
    """Return a hint for a pipeline that the registry does not have."""
    if not pipelines:
        return f"The registry is empty. Push the pipeline: kfgcp push PIPELINE --env {env}"
    suggestion = did_you_mean(name, pipelines)
    return f"{suggestion}Push the pipeline, or see what there is: {_list_command(env)}"
