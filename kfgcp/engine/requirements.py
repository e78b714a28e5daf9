"""Find out whether this Python environment has the packages that a component installs.

If not, `Requirements` describes the virtual environment that the component needs.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kfgcp.spec.lightweight import Lightweight

if TYPE_CHECKING:
    from packaging.markers import Marker

# A name, perhaps with `==` and a version. Most requirements are so simple.
_PLAIN: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:==([0-9][0-9A-Za-z.]*))?")

_NEVER: Final = '; python_version<"3.9"'
"""The end of a requirement that KFP adds to each install command. It never applies, because this
Python is newer."""

SETUPTOOLS: Final = "setuptools<82"
"""The setuptools of new environments. Many older packages import `pkg_resources`, which setuptools
82.0.0 has removed. Python's images contain setuptools, but a new virtual environment does not."""

READY: Final = "ready"
"""The name of an empty file in the folder of an environment. It exists when the environment is
complete."""


@dataclass(frozen=True, slots=True)
class Requirements:
    """The packages of a virtual environment.

    Attributes:
        packages: pip requirements, sorted.
        index_options: pip's options for package indexes.
        kfp: the requirement of kfp. It is installed without its dependencies, as in the compiled
            command. None when `packages` include kfp.
        contents: the digests of folders and files that `packages` name, see
            `kfgcp.engine.pinning`.
        setuptools: the requirement of setuptools. It is installed first, if an index has it. None
            installs no setuptools.
    """

    packages: tuple[str, ...]
    index_options: tuple[str, ...]
    kfp: str | None
    contents: tuple[str, ...] = ()
    setuptools: str | None = None

    @property
    def key(self) -> str:
        """The name of the environment: equal for equal requirements in the same Python."""
        python = [sys.implementation.cache_tag, platform.machine(), sys.base_prefix]
        values: list[object] = [self.packages, self.index_options, self.kfp, python]
        if self.setuptools:
            values.append(self.setuptools)
        values += self.contents
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


@cache
def missing_requirements(function: Lightweight, *, strict: bool = False) -> Requirements | None:
    """Return the requirements of the virtual environment that a function needs.

    Args:
        function: the function.
        strict: the function always gets an environment with the version of kfp in its compiled
            command. Otherwise it gets the version of kfp that is installed here.

    Returns:
        None when this environment has all packages.
    """
    packages = [text for text in function.requirements if not is_kfp(text)]
    pins = [text for text in function.requirements if is_kfp(text)]
    if not strict and all(_is_met(text) for text in packages):
        return None
    from importlib import metadata

    kfp = f"kfp=={metadata.version('kfp')}"
    if strict and pins:
        kfp = pins[0]
    return Requirements(tuple(sorted(packages)), function.index_options, kfp, setuptools=SETUPTOOLS)


def is_built(requirements: Requirements, environments: Path) -> bool:
    """Return whether the environment for requirements exists and is complete."""
    return (environments / requirements.key / READY).exists()


def is_kfp(text: str) -> bool:
    """Return whether a requirement is for kfp. The SDK adds one to each install command."""
    name = text.split(";")[0]
    for separator in "=<>!~[ @":
        name = name.split(separator)[0]
    return name.strip().lower() == "kfp"


def _is_met(text: str, extras: tuple[str, ...] = ()) -> bool:
    """Return whether an installed distribution satisfies a requirement.

    Args:
        text: the requirement. The packages of its extras must be installed too.
        extras: the extras for which another distribution has this requirement. The marker of the
            requirement may refer to them.
    """
    if text.endswith(_NEVER):
        return True
    # importlib.metadata and packaging are slow to import.
    from importlib import metadata

    plain = _PLAIN.fullmatch(text)
    if plain is not None:
        # Most requirements are plain, so this saves the import of packaging.
        name, version = plain.groups()
        try:
            installed_version = metadata.version(name)
        except metadata.PackageNotFoundError:
            return False
        if version is None or version == installed_version:
            return True
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return False
    if requirement.marker is not None and not _applies(requirement.marker, extras):
        return True
    # The address that an installed distribution came from is not known, so it may be another one.
    if requirement.url is not None:
        return False
    try:
        distribution = metadata.distribution(requirement.name)
    except metadata.PackageNotFoundError:
        return False
    if not requirement.specifier.contains(distribution.version, prereleases=True):
        return False
    requested_extras = tuple(requirement.extras)
    if not requested_extras:
        return True
    dependencies = distribution.requires or ()
    return all(_is_met(dependency, requested_extras) for dependency in dependencies)


def _applies(marker: Marker, extras: tuple[str, ...]) -> bool:
    """Return whether a marker is true for one of the extras. With no extras, use the extra ""."""
    return any(marker.evaluate({"extra": extra}) for extra in extras or ("",))
