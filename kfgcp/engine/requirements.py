"""`packages_to_install`: whether this environment has the packages, and which other one would."""

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

# A name, perhaps with one exact version: most requirements look like this.
_PLAIN: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:==([0-9][0-9A-Za-z.]*))?")

_NEVER: Final = '; python_version<"3.9"'
"""How KFP ends a requirement of its own in each command that installs; this Python is newer."""


SETUPTOOLS: Final = "setuptools<82"
"""The newest setuptools that brings `pkg_resources`, which many older packages import; 82.0.0
removed it. An image of Python has one of these, a virtual environment has none."""

READY: Final = "ready"
"""The file in an environment's folder that says that the environment is complete."""


@dataclass(frozen=True, slots=True)
class Requirements:
    """The packages of a virtual environment.

    Attributes:
        packages: pip requirements, sorted.
        index_options: pip's options that say where packages come from.
        kfp: the requirement of kfp, installed without its dependencies as the compiled command
            does; None when `packages` brings it.
        contents: the state of the folders and files that packages name, see
            `kfgcp.engine.pinning`.
        setuptools: the requirement of setuptools, installed first if an index has it; None for
            none.
    """

    packages: tuple[str, ...]
    index_options: tuple[str, ...]
    kfp: str | None
    contents: tuple[str, ...] = ()
    setuptools: str | None = None

    @property
    def key(self) -> str:
        """The same for the same packages, index options and Python."""
        python = [sys.implementation.cache_tag, platform.machine(), sys.base_prefix]
        values: list[object] = [self.packages, self.index_options, self.kfp, python]
        if self.setuptools:
            values.append(self.setuptools)
        values += self.contents
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


@cache
def missing_requirements(function: Lightweight, *, strict: bool = False) -> Requirements | None:
    """Return the packages that must be installed elsewhere to run a function.

    Args:
        function: the function.
        strict: use the kfp 2 that the compiled command pins. Otherwise any installed kfp 2 will do.

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
    """Return whether the environment for requirements is there."""
    return (environments / requirements.key / READY).exists()


def is_kfp(text: str) -> bool:
    """Return whether a requirement is the pin of kfp that the SDK adds to each command."""
    name = text.split(";")[0]
    for mark in "=<>!~[ @":
        name = name.split(mark)[0]
    return name.strip().lower() == "kfp"


def _is_met(text: str, extras: tuple[str, ...] = ()) -> bool:
    """Return whether an installed distribution satisfies a requirement.

    Args:
        text: the requirement. The extras that it names must be installed too.
        extras: the extras of the distribution that needs it; they decide about its marker.
    """
    if text.endswith(_NEVER):
        return True
    # This and packaging are slow to import.
    from importlib import metadata

    plain = _PLAIN.fullmatch(text)
    if plain is not None:
        # This answers most requirements without packaging.
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
    # It is not known which address an installed distribution came from.
    if requirement.url is not None:
        return False
    try:
        distribution = metadata.distribution(requirement.name)
    except metadata.PackageNotFoundError:
        return False
    if not requirement.specifier.contains(distribution.version, prereleases=True):
        return False
    chosen_extras = tuple(requirement.extras)
    if not chosen_extras:
        return True
    return all(_is_met(need, chosen_extras) for need in distribution.requires or ())


def _applies(marker: Marker, extras: tuple[str, ...]) -> bool:
    return any(marker.evaluate({"extra": extra}) for extra in extras or ("",))
