"""The addresses of repositories and pipelines in Artifact Registry.

A repository of the format KFP has the address `https://LOCATION-kfp.pkg.dev/PROJECT/REPOSITORY`. A
pipeline in it is a package. The address of a version is the address of the repository, followed by
`/PACKAGE/TAG` or `/PACKAGE/sha256:DIGEST`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

API: Final = "https://artifactregistry.googleapis.com"
REPOSITORY_FORM: Final = "https://LOCATION-kfp.pkg.dev/PROJECT/REPOSITORY"

# A digest as the name of a version (PipelineTemplateMetadata.version of aiplatform_v1).
DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")

# `Tag.name` of artifactregistry_v1 names the characters that need no escape. A tag of Google's own
# pipelines is `1.0.0`. The longest tag is a guess: it is the limit for images (distribution
# specification of the Open Container Initiative).
_TAG_PATTERN: Final = r"[a-zA-Z0-9_][\w.~@-]{0,127}"
TAG: Final = re.compile(_TAG_PATTERN, re.ASCII)

# The compiler of kfp refuses other names of pipelines (`validate_pipeline_name` in
# kfp/dsl/utils.py). Artifact Registry takes the name of the package from the pipeline.
PIPELINE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")

_REPOSITORY_PATTERN: Final = (
    r"https://(?P<location>[a-z0-9-]+)-kfp\.pkg\.dev"
    r"/(?P<project>[a-z0-9][a-z0-9.:-]*)/(?P<repository>[a-z][a-z0-9-]*)"
)
_REPOSITORY: Final = re.compile(_REPOSITORY_PATTERN + "/?")
# Packages that other programs made may have other characters than PIPELINE_NAME. The first
# character excludes the segments `.` and `..`, which would change the path of a URL.
_VERSION: Final = re.compile(
    _REPOSITORY_PATTERN
    + rf"/(?P<package>\w[\w.-]*)/(?P<label>sha256:[0-9a-f]{{64}}|{_TAG_PATTERN})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class RepositoryAddress:
    """The address of a repository.

    Attributes:
        location: a region such as `europe-west4`, or a multi-region such as `us`.
        project: the id of the project.
        repository: the name of the repository.
    """

    location: str
    project: str
    repository: str

    @property
    def host(self) -> str:
        """The address of the service for uploads and downloads."""
        return f"https://{self.location}-kfp.pkg.dev"

    @property
    def url(self) -> str:
        """The address of the repository, for people and for `kfp.registry.RegistryClient`."""
        return f"{self.host}/{self.project}/{self.repository}"

    @property
    def name(self) -> str:
        """The resource name of the repository."""
        parent = f"projects/{self.project}/locations/{self.location}"
        return f"{parent}/repositories/{self.repository}"

    def package_name(self, package: str) -> str:
        """Return the resource name of a package, quoted for a URL (`Package.name`)."""
        return f"{self.name}/packages/{quote(package, safe='')}"

    def version_name(self, package: str, digest: str) -> str:
        """Return the resource name of a version. digest: `sha256:` and 64 digits."""
        return f"{self.package_name(package)}/versions/{digest}"

    def file_path(self, package: str, label: str) -> str:
        """Return the path of a file at `host`. label: a tag or a digest."""
        package_path = f"{self.project}/{self.repository}/{quote(package, safe='')}"
        return f"{package_path}/{label}"


@dataclass(frozen=True, slots=True)
class VersionAddress:
    """The address of a version of a pipeline.

    Attributes:
        repository: the address of the repository.
        package: the name of the package.
        label: a tag, or `sha256:` and 64 digits.
    """

    repository: RepositoryAddress
    package: str
    label: str

    @property
    def has_digest(self) -> bool:
        """Whether the address has a digest, and so always means the same version."""
        return DIGEST.fullmatch(self.label) is not None

    @property
    def url(self) -> str:
        """The address as a text."""
        return f"{self.repository.url}/{self.package}/{self.label}"


def parse_repository(address: str) -> RepositoryAddress | None:
    """Return the parts of the address of a repository, None for other texts.

    Example:
        >>> parse_repository("https://europe-west4-kfp.pkg.dev/acme/pipelines").name
        'projects/acme/locations/europe-west4/repositories/pipelines'
    """
    match = _REPOSITORY.fullmatch(address)
    if match is None:
        return None
    return RepositoryAddress(**match.groupdict())


def parse_version(address: str) -> VersionAddress | None:
    """Return the parts of the address of a version, None for other texts.

    Example:
        >>> parse_version("https://us-kfp.pkg.dev/acme/pipelines/churn/1.0.0").label
        '1.0.0'
    """
    match = _VERSION.fullmatch(address)
    if match is None:
        return None
    repository = RepositoryAddress(match["location"], match["project"], match["repository"])
    return VersionAddress(repository, match["package"], match["label"])
