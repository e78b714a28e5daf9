"""Make Docker images of programs of this machine, because tests cannot pull any."""

import fcntl
import hashlib
import io
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

CONTENT_LABEL = "kfgcp-tests.content"
"""The label of an image with the hash of its files and settings."""

SHELL = (
    "cat",
    "chmod",
    "chown",
    "dirname",
    "echo",
    "env",
    "head",
    "id",
    "ls",
    "mkdir",
    "sh",
    "sleep",
    "stat",
    "yes",
)
"""Names of busybox commands: a shell, and what tasks and kfgcp need."""


def static_busybox() -> Path:
    """Return a busybox that needs no libraries. Skip the test where there is none."""
    busybox = shutil.which("busybox") or "/bin/busybox"
    if not Path(busybox).exists() or "statically linked" not in _kind(busybox):
        pytest.skip("no static busybox to make an image of (Debian: busybox-static)")
    return Path(busybox)


def _kind(program: str) -> str:
    process = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    return (
        "statically linked"
        if "not a dynamic executable" in process.stdout + process.stderr
        else process.stdout
    )


def import_image(
    name: str, files: dict[str, Path], links: Sequence[str] = (), changes: Sequence[str] = ()
) -> None:
    """Make an image, unless it exists with the same content.

    An image with the same content keeps its id. So images that begin with it are built once on a
    machine, also when several workers run tests.

    Args:
        name: its name and tag.
        files: path in the image -> file or folder of this machine.
        links: names of busybox commands.
        changes: lines of a Dockerfile.
    """
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", dereference=True) as archive:
        for target, file in files.items():
            archive.add(
                file, target, filter=lambda info: None if "__pycache__" in info.name else info
            )
        for link in links:
            entry = tarfile.TarInfo(f"bin/{link}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(entry)
        temporary = tarfile.TarInfo("tmp")
        temporary.type, temporary.mode = tarfile.DIRTYPE, 0o1777
        archive.addfile(temporary)
    content = hashlib.sha256(data.getvalue() + repr(changes).encode()).hexdigest()
    options = [f"--change=LABEL {CONTENT_LABEL}={content}"]
    options += [f"--change={change}" for change in changes]
    with image_lock():
        if _content_of(name) == content:
            return
        subprocess.run(
            ["docker", "import", *options, "-", name],
            input=data.getvalue(),
            check=True,
            capture_output=True,
        )


@contextmanager
def image_lock() -> Iterator[None]:
    """Let one process of this machine make images at a time."""
    with Path(tempfile.gettempdir(), "kfgcp-tests-images.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _content_of(name: str) -> str:
    """Return the label CONTENT_LABEL of an image, "" when there is no such image or label."""
    template = f'{{{{index .Config.Labels "{CONTENT_LABEL}"}}}}'
    command = ["docker", "image", "inspect", "--format", template, name]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    return process.stdout.strip()


def import_python(name: str) -> None:
    """Make an image with the Python of Debian, which can make environments and install packages.

    It has the certificates of this machine and its pip configuration, because a build must reach
    the same index. Skip the test where there is no such Python.
    """
    python = Path("/usr/bin/python3.11")
    library = Path("/usr/lib/python3.11")
    wheels = Path("/usr/share/python-wheels")
    if not (python.exists() and library.exists() and wheels.exists()):
        pytest.skip("no system Python 3.11 with venv (Debian: python3-venv)")
    files = {
        "bin/busybox": static_busybox(),
        "usr/bin/python3": python,
        "usr/lib/python3.11": library,
        "usr/share/python-wheels": wheels,
    }
    for file in _shared_libraries([python, *library.glob("lib-dynload/*.so")]):
        files[str(file)[1:]] = file
    for settings in (Path("/etc/pip.conf"), Path("/etc/ssl/certs/ca-certificates.crt")):
        if settings.exists():
            files[str(settings)[1:]] = settings
    links = (*SHELL, "find", "mktemp", "rm", "touch")
    import_image(name, files, links, ["ENV PATH=/usr/bin:/bin"])


def _shared_libraries(programs: Sequence[Path]) -> Iterator[Path]:
    """Yield the libraries that programs need, and those that wheels for Linux may use."""
    output = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False).stdout
    for word in output.split():
        if word.startswith("/") and not word.endswith(":") and Path(word).exists():
            yield Path(word)
    names = ("libstdc++.so.6", "libgcc_s.so.1", "libpthread.so.0", "libdl.so.2", "librt.so.1")
    for name in names:
        yield from Path("/usr/lib").glob(f"*-linux-gnu/{name}")
