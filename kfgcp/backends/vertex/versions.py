"""Versions of pipelines in Artifact Registry, see `SupportsVersions` and `version_markers`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from kfgcp.backends.versions import (
    RegisteredVersion,
    VersionUpload,
    digest_text,
    refused_move,
)
from kfgcp.backends.vertex.registry_addresses import (
    REPOSITORY_FORM,
    RepositoryAddress,
    VersionAddress,
    parse_repository,
)
from kfgcp.backends.vertex.registry_client import ListedVersion, RepositoryClient
from kfgcp.backends.vertex.settings import VertexSettings
from kfgcp.backends.vertex.version_checks import check_tag, checked_content
from kfgcp.backends.vertex.version_markers import (
    MarkedText,
    is_marker,
    read_markers,
    read_tags,
    text_tag,
    version_tag,
)
from kfgcp.config import Environment
from kfgcp.errors import (
    BackendError,
    BadAnswer,
    ConfigError,
    NotFound,
    Refused,
    Remedy,
)
from kfgcp.services.fields import HINT
from kfgcp.services.redact import redacted_line

# Roles of Artifact Registry. The last one may also delete tags.
READER: Final = "roles/artifactregistry.reader"
WRITER: Final = "roles/artifactregistry.writer"
REPO_ADMIN: Final = "roles/artifactregistry.repoAdmin"

_CONFLICT: Final = 409


class VertexVersions:
    """The registry of an environment, see `SupportsVersions`.

    Args:
        env: the environment.
        seconds: how long a request may take with all its retries, None for the setting.
    """

    def __init__(self, env: Environment, *, seconds: float | None = None) -> None:
        self._env = env
        self._seconds = seconds
        self._client: RepositoryClient | None = None
        self._is_checked = False

    @property
    def registry(self) -> str:
        """The address of the repository, "" when the environment has none."""
        # It raises no error, because `isinstance` with a Protocol reads the properties.
        address = self._address()
        return "" if address is None else address.url

    def check(self) -> None:
        """Check that the repository exists and stores pipelines.

        Raises:
            ConfigError: it does not.
        """
        client = self._open()
        with self._explained(READER):
            client.check_repository()

    def list_versions(self, pipeline: str) -> list[RegisteredVersion]:
        """Return the versions of a pipeline, see `SupportsVersions.list_versions`.

        A version whose text has changed has two entries. The current text is the first of them.
        The other one has no `text_digest`, because it is not what the environment runs now.
        """
        client = self._open()
        with self._explained(READER):
            listed_versions = self._list(client, pipeline)
            # Packages of other formats have versions and tags, too.
            if listed_versions and not any(_is_ours(listed) for listed in listed_versions):
                self._check_format(client)
        entries = [_read_entry(client, pipeline, listed) for listed in listed_versions]
        return _newest_first(entries)

    def list_pipelines(self) -> list[str]:
        """Return the names of the packages, sorted."""
        client = self._open()
        with self._explained(READER):
            self._check_format(client)
            return sorted(client.list_packages())

    def read_text(self, version: RegisteredVersion) -> str:
        """Return the text of an entry without the comment lines of kfgcp."""
        _, entry_text = self.read(version)
        return entry_text

    def read(self, version: RegisteredVersion) -> tuple[RegisteredVersion, str]:
        """Return an entry with its whole version, and its text without the comment lines of kfgcp.

        Raises:
            NotFound: the entry does not exist any more.
            BadAnswer: the text does not have the version or the digest of the entry's tags.
        """
        client = self._open()
        with self._explained(READER):
            content = client.download(version.pipeline, version.ref)
        marked = read_markers(content)
        if marked is None and not version.version:
            return version, content
        if marked is None or not marked.version.startswith(version.version):
            raise _wrong_text(version.address, "the version of its tag")
        if not digest_text(marked.text).startswith(version.text_digest):
            raise _wrong_text(version.address, "the digest of its tag")
        return replace(version, version=marked.version), marked.text

    def check_upload(self, upload: VersionUpload) -> None:
        """Check an upload, see `ChecksUploads`."""
        checked_content(upload)

    def upload(self, upload: VersionUpload) -> RegisteredVersion:
        """Add an entry, see `SupportsVersions.upload`.

        Raises:
            UsageError: Artifact Registry cannot have a pipeline with this name.
            SpecError: the text is not a valid pipeline.
            BadAnswer: the registry dropped a tag or changed the text.
        """
        content = checked_content(upload)
        client = self._open()
        with self._explained(WRITER):
            self._check_format(client)
            digest = self._find(client, upload, content)
            if digest is None:
                digest = self._add(client, upload, content)
            entry = self._with_tags(client, upload, digest)
            marked = read_markers(client.download(upload.pipeline, digest))
        if marked is None or not _is_text_of(upload, marked):
            raise _wrong_text(entry.address, "the text that was uploaded")
        return replace(
            entry, version=upload.version, text_digest=upload.text_digest, project=marked.project
        )

    def require_tags(
        self, tags: Sequence[str] = (), version: RegisteredVersion | None = None
    ) -> None:
        """Do nothing: the registry has tags, as many as a user sets."""

    def set_tag(self, version: RegisteredVersion, tag: str, *, fixed: bool = False) -> None:
        """Let a tag point to an entry, see `SupportsVersions.set_tag`.

        Raises:
            UsageError: Artifact Registry cannot have this tag, kfgcp uses it as a marker, or
                `fixed` is set and the tag points to another entry.
        """
        check_tag(tag)
        client = self._open()
        with self._explained(WRITER):
            self._check_format(client)
            holder = _point_tag(client, version.pipeline, tag, version.ref, fixed=fixed)
        if holder == version.ref:
            return
        for entry in self.list_versions(version.pipeline):
            if entry.ref == holder:
                raise refused_move(tag, entry, version.version)
        raise BadAnswer(
            f"Artifact Registry does not list the version {holder} of {version.pipeline}, which"
            f" has the tag {tag}.",
            hint="Another process may have deleted the version. Repeat the command.",
        )

    def remove_tag(self, version: RegisteredVersion, tag: str) -> None:
        """Remove a tag of an entry. Do nothing when the entry does not have it."""
        check_tag(tag)
        client = self._open()
        with self._explained(REPO_ADMIN):
            self._check_format(client)
            if client.find_tag(version.pipeline, tag) != version.ref:
                return
            try:
                client.delete_tag(version.pipeline, tag)
            except NotFound:
                # The answer to the first try was lost, or another process removed the tag.
                return

    def _address(self) -> RepositoryAddress | None:
        """Return the address of the repository, None when the environment has none."""
        settings = VertexSettings.of(self._env.settings)
        return parse_repository(settings.pipeline_registry or "")

    def _open(self) -> RepositoryClient:
        """Return the client of the repository.

        Raises:
            ConfigError: the environment has no repository.
        """
        if self._client is not None:
            return self._client
        address = self._address()
        if address is None:
            raise ConfigError(
                f"Environment '{self._env.name}' has no registry for versions of pipelines.",
                hint=(
                    f'Set pipeline_registry = "{REPOSITORY_FORM}" in [env.{self._env.name}] of'
                    " kfgcp.toml."
                ),
            )
        settings = VertexSettings.of(self._env.settings)
        self._client = RepositoryClient(
            address,
            self._env,
            endpoint=settings.artifact_registry_endpoint,
            seconds=self._seconds or settings.request_seconds,
        )
        return self._client

    @contextmanager
    def _explained(self, role: str) -> Iterator[None]:
        """Explain the refusals of the requests in a `with` block.

        Args:
            role: the role that allows all these requests.

        Raises:
            ConfigError: the repository does not exist, or has another format.
        """
        try:
            yield
        except Refused as refused:
            if refused.status in (400, 404):
                self._check_repository()
            if refused.status != 403 or refused.remedy is Remedy.ENABLE_API:
                raise
            address = self._open().address
            raise refused.amended(
                hint=(
                    f"Check that {address.url} is right, and ask for {role}: gcloud artifacts"
                    f" repositories add-iam-policy-binding {address.repository}"
                    f" --location={address.location} --project={address.project}"
                    f" --member=user:YOUR_ACCOUNT --role={role}"
                )
            ) from None

    def _check_format(self, client: RepositoryClient) -> None:
        """Check once that the repository exists and stores pipelines.

        A repository of another format also has packages, versions and tags.

        Raises:
            ConfigError: it does not.
        """
        if not self._is_checked:
            client.check_repository()
            self._is_checked = True

    def _check_repository(self) -> None:
        """Raise a ConfigError when the repository is missing or has another format than KFP."""
        try:
            self._check_format(self._open())
        except BackendError:
            # The repository cannot be read. The error that led here is more useful.
            return

    def _list(self, client: RepositoryClient, pipeline: str) -> list[ListedVersion]:
        """Return the versions of a package, [] when the repository does not have the package."""
        # These names would change the path of the request, or have no form in a URL.
        if pipeline in ("", ".", "..") or not pipeline.isprintable():
            return []
        try:
            return client.list_versions(pipeline)
        except NotFound:
            # The service answers 404 for a missing repository, too.
            self._check_repository()
            return []

    def _find(self, client: RepositoryClient, upload: VersionUpload, content: bytes) -> str | None:
        """Return the digest of the entry that an upload would add, None without one."""
        listed_versions = self._list(client, upload.pipeline)
        # The generic protocol of registries names a version by the SHA-256 of its file
        # (kubeflow/pipelines#7382). An entry with this name has the same content. If a service used
        # other digests, the entry would be found by its tag.
        same_content = "sha256:" + hashlib.sha256(content).hexdigest()
        if any(listed.digest == same_content for listed in listed_versions):
            return same_content
        for listed in listed_versions:
            if text_tag(upload) not in listed.tags:
                continue
            # Anybody may have moved the tag, so the text decides.
            marked = read_markers(client.download(upload.pipeline, listed.digest))
            if marked is not None and _is_text_of(upload, marked):
                return listed.digest
        return None

    def _add(self, client: RepositoryClient, upload: VersionUpload, content: bytes) -> str:
        """Upload a file, and return its digest. When the answer is lost, do not add it twice."""
        tags = _marker_tags(upload)
        try:
            package, digest = client.upload(content, tags, repeatable=False)
        except BackendError as error:
            if not error.unknown:
                raise
            digest_of_entry = self._find(client, upload, content)
            if digest_of_entry is not None:
                return digest_of_entry
            package, digest = client.upload(content, tags, repeatable=True)
        if package != upload.pipeline:
            raise BadAnswer(
                f"Artifact Registry added {redacted_line(package, limit=130)} instead of"
                f" {upload.pipeline}.",
                hint=HINT,
            )
        return digest

    def _with_tags(
        self, client: RepositoryClient, upload: VersionUpload, digest: str
    ) -> RegisteredVersion:
        """Set the tags of an entry that are missing, and return the entry as the registry has it.

        Raises:
            BadAnswer: the entry does not have a tag afterwards.
        """
        for is_last_try in (False, True):
            listed = self._read_listed(client, upload.pipeline, digest)
            missing_tags = [tag for tag in _marker_tags(upload) if tag not in listed.tags]
            if not missing_tags:
                break
            if is_last_try:
                raise BadAnswer(
                    f"Artifact Registry dropped the tag {missing_tags[0]} of {upload.pipeline}.",
                    hint=HINT,
                )
            for tag in missing_tags:
                _point_tag(client, upload.pipeline, tag, digest)
        return _read_entry(client, upload.pipeline, listed).version

    def _read_listed(self, client: RepositoryClient, pipeline: str, digest: str) -> ListedVersion:
        """Return an entry that was just written, as the list of versions has it."""
        for listed in self._list(client, pipeline):
            if listed.digest == digest:
                return listed
        raise BadAnswer(
            f"Artifact Registry does not list the version {digest} of {pipeline}, which was just"
            " uploaded.",
            hint=HINT,
        )


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry of the registry.

    Attributes:
        version: the entry.
        is_current: whether it has the text that the environment runs for its version.
    """

    version: RegisteredVersion
    is_current: bool


def _read_entry(client: RepositoryClient, pipeline: str, listed: ListedVersion) -> _Entry:
    """Return an item of a list of versions as an entry."""
    markers = read_tags(listed.tags)
    address = VersionAddress(client.address, pipeline, listed.digest).url
    version = RegisteredVersion(
        pipeline=pipeline,
        ref=listed.digest,
        version=markers.version,
        # Another text replaced the text of an entry that is not current. So the entry must not look
        # as if the environment runs it.
        text_digest=markers.text_digest if markers.is_current else "",
        project="",
        tags=tuple(tag for tag in listed.tags if not is_marker(tag)),
        created_at=listed.created_at,
        address=address,
        template=address,
    )
    return _Entry(version, markers.is_current)


def _is_ours(listed: ListedVersion) -> bool:
    return any(is_marker(tag) for tag in listed.tags)


def _newest_first(entries: Sequence[_Entry]) -> list[RegisteredVersion]:
    """Return entries, the newest first. Entries of one version are together, the current first."""
    newest_times: dict[str, str] = {}
    for entry in entries:
        group = entry.version.version or entry.version.ref
        newest_times[group] = max(newest_times.get(group, ""), entry.version.created_at)

    def sort_key(entry: _Entry) -> tuple[str, str, bool, str, str]:
        version = entry.version
        group = version.version or version.ref
        return newest_times[group], group, entry.is_current, version.created_at, version.ref

    return [entry.version for entry in sorted(entries, key=sort_key, reverse=True)]


def _marker_tags(upload: VersionUpload) -> tuple[str, str]:
    return version_tag(upload), text_tag(upload)


def _is_text_of(upload: VersionUpload, marked: MarkedText) -> bool:
    """Return whether a file has the version and the text of an upload."""
    return marked.version == upload.version and marked.text == upload.text


def _point_tag(
    client: RepositoryClient, package: str, tag: str, digest: str, *, fixed: bool = False
) -> str:
    """Let a tag point to a version, and return the digest that it points to.

    Args:
        client: the client of the repository.
        package: the name of the package.
        tag: the tag.
        digest: the version.
        fixed: never move the tag. Only then can the result be another digest.

    Raises:
        NotFound: the version does not exist.
        BadAnswer: the tag does not point to the version afterwards.
    """
    digest_before = client.find_tag(package, tag)
    if digest_before == digest or (fixed and digest_before is not None):
        return digest_before
    exists = digest_before is not None or not _create_tag(client, package, tag, digest)
    if exists and not fixed:
        client.move_tag(package, tag, digest)
    digest_after = client.find_tag(package, tag)
    if digest_after == digest or (exists and fixed and digest_after is not None):
        return digest_after
    raise BadAnswer(
        f"Artifact Registry accepted the tag {tag} for {package} {digest}, but the tag does not"
        " point to it.",
        hint="Another process may have moved the tag. Repeat the command.",
    )


def _create_tag(client: RepositoryClient, package: str, tag: str, digest: str) -> bool:
    """Create a tag. Return False when it exists already."""
    try:
        client.create_tag(package, tag, digest)
    except Refused as refused:
        # The answer to the first try was lost, or another process has created the tag.
        if refused.status != _CONFLICT:
            raise
        return False
    return True


def _wrong_text(address: str, expected: str) -> BadAnswer:
    """Return the error for a text that does not fit its entry. expected: what it should have."""
    return BadAnswer(
        f"Artifact Registry: the text of {address} does not have {expected}.",
        hint=(
            "Somebody may have moved a tag that begins with k- or t-. Add the version again:"
            " kfgcp push PIPELINE"
        ),
    )
