"""The content of repositories of `kfgcp.testing.artifact_registry`, and the form of an upload."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from typing import Final, NamedTuple

from kfgcp.errors import SpecError
from kfgcp.spec.documents import parse_documents
from kfgcp.testing.google import invalid
from kfgcp.testing.server import Request

# `Version.related_tags` of artifactregistry_v1.
MAX_RELATED_TAGS: Final = 100
# `Tag.name` of artifactregistry_v1 names these characters. The length is a guess.
TAG_NAME: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._~@-]{0,127}")
# `validate_pipeline_name` of kfp. That the service has the same rule is a guess.
_PACKAGE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")


@dataclass(slots=True)
class Version:
    """A version of a package.

    Attributes:
        digest: the hexadecimal digest in its name.
        content: the file.
        created: Unix time in seconds.
        updated: Unix time in seconds of the last upload of this version.
    """

    digest: str
    content: bytes
    created: float
    updated: float


@dataclass(slots=True)
class Package:
    """A package.

    Attributes:
        created: Unix time in seconds.
        versions: the versions by their digests.
        tags: tag -> the digest that it points to.
    """

    created: float
    versions: dict[str, Version] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def updated(self) -> float:
        """The time of the last upload ("includes publishing a new version", Package)."""
        return max((version.updated for version in self.versions.values()), default=self.created)

    def add_version(self, digest: str, content: bytes) -> str:
        """Add a version, or overwrite the one with the same digest. Return the digest."""
        now = time.time()
        existing = self.versions.get(digest)
        created = now if existing is None else existing.created
        self.versions[digest] = Version(digest, content, created, now)
        return digest

    def tags_of(self, digest: str) -> list[str]:
        """Return the tags that point to a version, sorted."""
        return sorted(tag for tag, target in self.tags.items() if target == digest)


@dataclass(slots=True)
class Repository:
    """A repository.

    Attributes:
        format: a word of `Repository.Format` of artifactregistry_v1.
        created: Unix time in seconds.
        packages: the packages by their names.
    """

    format: str
    created: float
    packages: dict[str, Package] = field(default_factory=dict)

    def make_package(self, name: str) -> Package:
        """Return a package. Create it if it does not exist."""
        return self.packages.setdefault(name, Package(time.time()))


class Upload(NamedTuple):
    """The form of an upload. package: the name of the pipeline in the file."""

    package: str
    tags: list[str]
    content: bytes


def read_upload(request: Request) -> Upload:
    """Return the file and the tags of an upload, with the fields of `RegistryClient`.

    The service takes the name of the package from the pipeline. Which files it refuses is a guess.

    Raises:
        GoogleError: 400, the file is missing or is not a pipeline, or a tag is invalid.
    """
    header = f"Content-Type: {request.headers.get('content-type', '')}\r\n\r\n".encode()
    # Without the header MIME-Version, the parser still reads the parts.
    message = message_from_bytes(header + request.body, policy=policy.HTTP)
    fields: dict[str, bytes] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(payload, bytes):
            fields[name] = payload
    content = fields.get("content")
    if content is None:
        raise invalid("The form has no field content.", "content")
    tags = [tag for tag in fields.get("tags", b"").decode(errors="replace").split(",") if tag]
    for tag in tags:
        if not TAG_NAME.fullmatch(tag):
            raise invalid(f"The tag {tag!r} is invalid.", "tags")
    return Upload(_package_in(content), tags, content)


def _package_in(content: bytes) -> str:
    """Return the name of the pipeline in a file."""
    try:
        documents = parse_documents(content.decode(), "content", as_json=False)
    except (SpecError, UnicodeDecodeError) as error:
        raise invalid(f"The content is not YAML: {error}", "content") from None
    spec = documents[0] if documents else None
    info = spec.get("pipelineInfo") if isinstance(spec, dict) else None
    name = info.get("name") if isinstance(info, dict) else None
    if not isinstance(name, str) or not _PACKAGE_NAME.fullmatch(name):
        raise invalid(f"The name of the pipeline is invalid: {name!r}", "content")
    return name
