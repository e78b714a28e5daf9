"""How this kfgcp was installed, and the command that changes the installation.

A hint such as "pip install 'kfgcp[docker]'" is wrong for most installations: from a checkout, a
wheel or a git repository it would fetch another kfgcp, or none. Installers record where a
distribution came from, in `direct_url.json` (https://packaging.python.org/en/latest/specifications/direct-url/),
and who installed it, in `INSTALLER`. The hints follow from these two files.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from kfgcp import __version__

NAME: Final = "kfgcp"
PACKAGE: Final = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Installation:
    """How a distribution is installed.

    Attributes:
        version: the version of the distribution, "" when kfgcp is imported without being installed.
        extras: the extras that the distribution has.
        location: the folder `kfgcp` of the distribution.
        direct_url: the content of direct_url.json, None for a distribution from an index.
    """

    version: str
    extras: tuple[str, ...]
    location: Path
    direct_url: Mapping[str, object] | None

    @property
    def is_imported(self) -> bool:
        """Whether the running code is the code of this distribution."""
        return self.location == PACKAGE

    def requirement(self, extra: str = "") -> str:
        """Return the requirement that installs this kfgcp again, quoted for a shell.

        Args:
            extra: an extra to install too, "" for none.

        Example:
            >>> Installation("0.2.0", ("s3",), PACKAGE, None).requirement("s3")
            "'kfgcp[s3]'"
        """
        suffix = f"[{extra}]" if extra else ""
        if not self.version:
            return f"-e {shlex.quote(f'{PACKAGE.parent}{suffix}')}"
        if self.direct_url is None:
            return shlex.quote(f"{NAME}{suffix}")
        url = str(self.direct_url.get("url", ""))
        dir_info = self.direct_url.get("dir_info")
        if isinstance(dir_info, Mapping):
            path = shlex.quote(f"{unquote(urlsplit(url).path)}{suffix}")
            return f"-e {path}" if dir_info.get("editable") else path
        vcs_info = self.direct_url.get("vcs_info")
        if isinstance(vcs_info, Mapping):
            # Without a requested revision, the installer took the default branch.
            revision = vcs_info.get("requested_revision")
            url = f"{vcs_info.get('vcs')}+{url}"
            if revision:
                url = f"{url}@{revision}"
        return shlex.quote(f"{NAME}{suffix} @ {url}")


def current() -> Installation:
    """Return the installation of kfgcp in this environment.

    When the metadata cannot be read, return the same as for a kfgcp that is not installed, because
    a hint must not fail.
    """
    try:
        distribution = metadata.distribution(NAME)
        version = distribution.version
        text = distribution.read_text("direct_url.json")
        direct_url = json.loads(text) if text else None
        location = Path(str(distribution.locate_file(NAME))).resolve()
        extras = tuple(distribution.metadata.get_all("Provides-Extra") or ())
    except (metadata.PackageNotFoundError, OSError, ValueError, KeyError):
        return Installation("", (), PACKAGE, None)
    if not isinstance(direct_url, dict):
        return Installation(version, extras, location, None)
    dir_info = direct_url.get("dir_info")
    if isinstance(dir_info, dict) and dir_info.get("editable"):
        # An editable distribution has no files of its own: the code is in the checkout.
        location = Path(unquote(urlsplit(str(direct_url.get("url", ""))).path), NAME).resolve()
    return Installation(version, extras, location, direct_url)


def describe_versions() -> str:
    """Return the versions of kfgcp, Python and kfp.

    A note follows when the running code is not the code of the installed kfgcp. kfp is not
    imported, because that takes a second.
    """
    try:
        kfp = f"kfp {metadata.version('kfp')}"
    except metadata.PackageNotFoundError:
        kfp = "kfp is not installed"
    python = ".".join(str(number) for number in sys.version_info[:3])
    line = f"kfgcp {__version__} (Python {python}, {kfp})"
    installation = current()
    if installation.is_imported:
        return line
    return f"{line}\nnote: {_explain_two_copies(installation)}"


def install_hint(extra: str) -> str:
    """Return the hint that says how to install an extra here.

    The hint is a command, except in two cases: the running code is not the code of the installed
    distribution, or the distribution does not have the extra.
    """
    installation = current()
    if not installation.is_imported:
        return _explain_two_copies(installation)
    if installation.version and extra not in installation.extras:
        return (
            f"The installed kfgcp {installation.version} has no extra '{extra}'. It has"
            f" {', '.join(sorted(installation.extras))}. Install kfgcp again: {_installer()}"
            f" {installation.requirement()}"
        )
    return f"{_installer()} {installation.requirement(extra)}"


def _explain_two_copies(installation: Installation) -> str:
    return (
        f"Python imports kfgcp from {PACKAGE}, but kfgcp {installation.version} is installed in"
        f" {installation.location}. Start kfgcp in another folder, or remove {PACKAGE.parent} from"
        " PYTHONPATH."
    )


def upgrade_hint() -> str:
    """Return the hint that says how to get a newer kfgcp."""
    installation = current()
    if not installation.version or _comes_from_folder(installation):
        return f"Update the checkout {installation.location.parent}: git pull"
    return f"Upgrade: {_installer(upgrade=True)} {installation.requirement()}"


def _comes_from_folder(installation: Installation) -> bool:
    return installation.direct_url is not None and "dir_info" in installation.direct_url


def _installer(*, upgrade: bool = False) -> str:
    """Return the beginning of the command that changes this environment."""
    # `uv tool` and pipx make an environment for each application, and each tool leaves a file in
    # it. Only the tool that made such an environment may change it.
    if Path(sys.prefix, "uv-receipt.toml").exists():
        return "uv tool install --force"
    if Path(sys.prefix, "pipx_metadata.json").exists():
        return "pipx install --force"
    option = " --upgrade" if upgrade else ""
    python = shlex.quote(sys.executable)
    # Environments that uv made have no pip.
    if util.find_spec("pip") is None:
        return f"uv pip install --python {python}{option}"
    return f"{python} -m pip install{option}"
