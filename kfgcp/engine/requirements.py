"""`packages_to_install`: whether this environment has them, and the key of the environment that
would."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kfgcp.spec.lightweight import Lightweight

_PLAIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:==([0-9][0-9A-Za-z.]*))?")

_NEVER = '; python_version<"3.9"'
"""How KFP ends a requirement of its own in each command that installs; this Python is newer."""


SETUPTOOLS = "setuptools<82"
"""The newest setuptools that brings `pkg_resources`, which many older packages import; 82.0.0
removed it. An image of Python has one of these, a virtual environment has none."""


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a virtual environment must hold.

    packages: pip requirements, sorted. index_options: pip's options that say where from. kfp: the
    requirement of kfp, installed without its dependencies as the compiled command does, None when
    `packages` brings it. contents: the state of the folders and files that packages name, see
    `kfgcp.engine.pinning`. setuptools: the requirement of setuptools, installed first where it can
    be had, None for none.
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
        setuptools = [self.setuptools] if self.setuptools else []
        text = json.dumps(
            [self.packages, self.index_options, self.kfp, python, *setuptools, *self.contents]
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def missing_requirements(function: Lightweight, *, strict: bool = False) -> Requirements | None:
    """What must be installed elsewhere to run the function, None when this environment has it all.

    An installed kfp 2 counts as whatever kfp 2 the compiled command pins, unless `strict`.
    """
    wanted = [text for text in function.requirements if not is_kfp(text)]
    pins = [text for text in function.requirements if is_kfp(text)]
    if not strict and all(_is_met(text) for text in wanted):
        return None
    from importlib import metadata

    ours = f"kfp=={metadata.version('kfp')}"
    kfp = pins[0] if strict and pins else ours
    return Requirements(tuple(sorted(wanted)), function.index_options, kfp, setuptools=SETUPTOOLS)


READY = "ready"
"""The file in an environment's folder that says that it is whole."""


def is_built(requirements: Requirements, environments: Path) -> bool:
    """Whether the environment that holds them is there."""
    return (environments / requirements.key / READY).exists()


def is_kfp(text: str) -> bool:
    """Return whether a requirement is the pin of kfp that the SDK adds to each command."""
    name = text.split(";")[0]
    for mark in "=<>!~[ @":
        name = name.split(mark)[0]
    return name.strip().lower() == "kfp"


def _is_met(text: str, extras: tuple[str, ...] = ()) -> bool:
    """Whether an installed distribution satisfies a requirement, with the extras that it names."""
    if text.endswith(_NEVER):
        return True
    from importlib import metadata  # slow to import, as packaging is

    if (plain := _PLAIN.fullmatch(text)) is not None:  # spares the import of packaging
        try:
            if plain[2] in (None, metadata.version(plain[1])):
                return True
        except metadata.PackageNotFoundError:
            return False
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return False
    if requirement.marker is not None and not _applies(requirement.marker, extras):
        return True
    if requirement.url is not None:
        return False
    try:
        found = metadata.distribution(requirement.name)
    except metadata.PackageNotFoundError:
        return False
    if not requirement.specifier.contains(found.version, prereleases=True):
        return False
    chosen = tuple(requirement.extras)
    return not chosen or all(_is_met(need, chosen) for need in found.requires or ())


def _applies(marker: object, extras: tuple[str, ...]) -> bool:
    evaluate = marker.evaluate  # type: ignore[attr-defined]
    return any(evaluate({"extra": extra}) for extra in extras or ("",))
