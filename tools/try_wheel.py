"""Install a wheel into new environments and try it there as a new user would.

    python tools/try_wheel.py dist/kfgcp-0.2.0-py3-none-any.whl [EXTRA ...]

One environment has no extra, one each extra, one `all`. In each of them: the version and the help,
a new project, two runs and their comparison. Where the extra brings Streamlit, the dashboard has
to answer; elsewhere the command has to exit with 8, and its hint is a command that is then typed.

The packages are those of requirements/dev.txt where it pins them, so that a new release of another
project does not fail an unchanged commit.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Final
from zipfile import ZipFile

ROOT: Final = Path(__file__).resolve().parents[1]
PINS: Final = ROOT / "requirements" / "dev.txt"
UV: Final = Path(sys.executable).with_name("uv")
WITH_DASHBOARD: Final = ("dashboard", "all")
# No step takes a minute on an idle machine. The limit only ends one that hangs.
LIMIT: Final = 900
MISSING_EXTRA: Final = 8
# What an installer needs to reach the package index of this machine, and two of the system.
PASSED_ON: Final = (
    "HTTPS_PROXY",
    "LANG",
    "NO_PROXY",
    "PIP_CERT",
    "PIP_INDEX_URL",
    "SSL_CERT_FILE",
    "TMPDIR",
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "UV_SYSTEM_CERTS",
    "XDG_CONFIG_HOME",
)


class Failed(Exception):
    """A step did not do what it has to do."""


@dataclass(frozen=True)
class Place:
    """An environment with the wheel, and the folder where its user works."""

    environment: Path
    folder: Path

    @property
    def variables(self) -> Mapping[str, str]:
        """Return the variables of a shell of that user; nothing of this checkout is in them."""
        kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        path = f"{self.environment / 'bin'}:{UV.parent}:/usr/bin:/bin"
        # The home folder is empty, but not the configuration of the installer.
        kept.setdefault("XDG_CONFIG_HOME", str(Path.home() / ".config"))
        return {**kept, "PATH": path, "HOME": str(self.folder)}

    def run(self, command: str, *, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Type a command.

        code: the exit code that it has to have.

        Raises:
            Failed: it has another one.
        """
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=self.folder,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
        if done.returncode != code:
            raise Failed(
                f"{command}: exit code {done.returncode}, not {code}\n{done.stdout}{done.stderr}"
            )
        return done


def extras_of(wheel: Path) -> list[str]:
    """Return the extras that a wheel names in its metadata."""
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        headers = HeaderParser().parsestr(archive.read(name).decode())
    return headers.get_all("Provides-Extra") or []


def install(wheel: Path, extra: str, folder: Path) -> Place:
    """Make an environment with the wheel and an extra, "" for none."""
    place = Place(folder / "environment", folder / "work")
    place.folder.mkdir(parents=True)
    subprocess.run(
        [UV, "venv", "--quiet", "--python", sys.executable, place.environment], check=True
    )
    suffix = f"[{extra}]" if extra else ""
    python = place.environment / "bin" / "python"
    subprocess.run(
        [UV, "pip", "install", "--quiet", "--python", python, "--constraints", PINS]
        + [f"kfgcp{suffix} @ {wheel.resolve().as_uri()}"],
        check=True,
        timeout=LIMIT,
    )
    return place


def try_commands(place: Place) -> None:
    """Start a project, run its pipeline twice with different parameters, and compare the runs.

    Raises:
        Failed: a command fails, or the comparison does not show the parameter.
    """
    code = "import kfgcp; print(kfgcp.__file__)"
    origin = Path(place.run(f"python -c '{code}'").stdout.strip())
    if not origin.is_relative_to(place.environment):
        raise Failed(f"kfgcp is imported from {origin}, not from the wheel")
    place.run("kfgcp --version")
    place.run("kfgcp --help")
    place.run("kfgcp init .")
    (pipeline,) = (place.folder / "pipelines").glob("*.py")
    for longer_than in (4, 5):
        place.run(f"kfgcp run pipelines/{pipeline.name} -p longer_than={longer_than}")
    runs = json.loads(place.run("kfgcp list --json").stdout)
    ids = " ".join(run["run_id"] for run in runs)
    comparison = place.run(f"kfgcp compare {ids}").stdout
    if "longer_than" not in comparison:
        raise Failed(f"kfgcp compare does not show the parameter:\n{comparison}")


def try_dashboard(place: Place) -> None:
    """Start the dashboard and wait until it answers.

    Raises:
        Failed: it ends, or it does not answer in time.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        ["/bin/sh", "-c", f"exec kfgcp dashboard --port {port} --no-browser"],
        cwd=place.folder,
        env=place.variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        address = _address_of(process)
        with urllib.request.urlopen(address, timeout=LIMIT) as answer:  # noqa: S310
            if answer.status != 200:
                raise Failed(f"the dashboard answers {answer.status}")
    finally:
        process.terminate()
        process.wait(LIMIT)


def _address_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    deadline = time.monotonic() + LIMIT
    output = ""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while time.monotonic() < deadline and selector.select(deadline - time.monotonic()):
            line = process.stdout.readline()
            if not line:
                break
            output += line
            match = re.search(r"http://[\w.]+:\d+", line)
            if match is not None:
                return match[0]
    raise Failed(f"the dashboard does not print its address:\n{output}")


def try_hint(place: Place) -> None:
    """Ask for the dashboard without its extra, type the command of the hint, and ask again."""
    refused = place.run("kfgcp dashboard --no-browser", code=MISSING_EXTRA)
    match = re.search(r"^hint: (.*)$", refused.stderr, re.MULTILINE)
    if match is None:
        raise Failed(f"no hint:\n{refused.stderr}")
    place.run(f"UV_CONSTRAINT={PINS} {match[1]}")
    try_dashboard(place)


def try_extra(wheel: Path, extra: str) -> None:
    """Try the wheel with one extra, "" for none, in a new environment."""
    with tempfile.TemporaryDirectory() as folder:
        place = install(wheel, extra, Path(folder).resolve())
        try_commands(place)
        if extra in WITH_DASHBOARD:
            try_dashboard(place)
        elif not extra:
            try_hint(place)


def main(arguments: list[str]) -> int:
    """Try a wheel; return the exit status."""
    wheel = Path(arguments[0])
    extras = arguments[1:] or [""] + extras_of(wheel)
    status = 0
    for extra in extras:
        started = time.monotonic()
        try:
            try_extra(wheel, extra)
            outcome = "works"
        except (Failed, subprocess.SubprocessError, OSError) as error:
            outcome = f"FAILED: {error}"
            status = 1
        print(f"{extra or 'no extra'}: {outcome} ({time.monotonic() - started:.0f} s)", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
