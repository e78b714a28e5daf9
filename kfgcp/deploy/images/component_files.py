"""The contexts of the images of kfgcp's own components.

A context has the Dockerfile, the locked requirements, and a wheel of the package
`kfgcp_components`. The wheel is made here, from the installed package. The same package always
gives the same bytes, so everybody gets the same content.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from importlib import util
from pathlib import Path
from typing import Final

from kfgcp import __version__
from kfgcp.deploy.images.context import Context, Entry
from kfgcp.errors import ConfigError

_PACKAGE: Final = "kfgcp_components"

# The endings of the files that the package needs at run time.
_ENDINGS: Final = (".py", ".json", ".typed")

# The earliest time that a zip archive can hold.
_TIME: Final = (1980, 1, 1, 0, 0, 0)

_WHEEL: Final = "Wheel-Version: 1.0\nGenerator: kfgcp\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def read_component_context(image: str) -> Context:
    """Return the context of an image of kfgcp.

    Args:
        image: `base`, `gcp` or `tabular`.

    Raises:
        ConfigError: the installation is incomplete.
    """
    package = _find_package()
    folder = _find_folder(package) / image
    entries = {}
    for name in ("Dockerfile", "requirements.txt"):
        try:
            data = (folder / name).read_bytes()
        except OSError as error:
            raise ConfigError(
                f"The image {image} cannot be built: {folder / name} cannot be read:"
                f" {error.strerror}.",
                hint="Install kfgcp again.",
            ) from None
        entries[name] = Entry(data=data, size=len(data))
    wheel = build_wheel(package, __version__)
    entries[wheel_name(__version__)] = Entry(data=wheel, size=len(wheel))
    return Context(entries, "Dockerfile", f"the image {image} of kfgcp")


def wheel_name(version: str) -> str:
    """Return the file name of the wheel of a version."""
    return f"{_PACKAGE}-{version}-py3-none-any.whl"


def build_wheel(package: Path, version: str) -> bytes:
    """Return a wheel of the package. It does not depend on the machine or on the time.

    Args:
        package: the folder `kfgcp_components`.
        version: the version of the wheel.
    """
    info = f"{_PACKAGE}-{version}.dist-info"
    files = {}
    for file in package.rglob("*"):
        path = file.relative_to(package.parent).as_posix()
        if file.suffix in _ENDINGS and file.is_file() and "/images/" not in path:
            files[path] = file.read_bytes()
    metadata = f"Metadata-Version: 2.1\nName: kfgcp-components\nVersion: {version}\n"
    files[f"{info}/METADATA"] = f"{metadata}License: Apache-2.0\n".encode()
    files[f"{info}/WHEEL"] = _WHEEL.encode()
    record = "".join(_record_line(path, files[path]) for path in sorted(files))
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    output = io.BytesIO()
    # Without compression, because different versions of zlib compress to different bytes.
    with zipfile.ZipFile(output, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(files):
            entry = zipfile.ZipInfo(path, _TIME)
            # The system that made the archive: 3 is Unix, which has modes.
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, files[path])
    return output.getvalue()


def _record_line(path: str, data: bytes) -> str:
    """Return the line of a file in RECORD (the specification of binary distributions)."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(data)}\n"


def _find_package() -> Path:
    # This does not import the package.
    package_spec = util.find_spec(_PACKAGE)
    if package_spec is None or not package_spec.submodule_search_locations:
        raise ConfigError(
            f"The package {_PACKAGE} is not installed, so its images cannot be named.",
            hint="Install kfgcp again.",
        )
    return Path(package_spec.submodule_search_locations[0])


def _find_folder(package: Path) -> Path:
    """Return the folder with the Dockerfiles.

    A wheel has it inside the package, and the repository has it beside the package.
    """
    inside = package / "images"
    return inside if inside.is_dir() else package.parent / "images"
