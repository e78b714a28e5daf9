"""The files that an image is built from: their digest, and the archive for Docker."""

import errno
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from kfgcp.deploy.images import context as context_module
from kfgcp.deploy.images.context import Context, read_context
from kfgcp.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    (folder / "src").mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM scratch\n")
    (folder / "src" / "a.py").write_text("a = 1\n")
    return folder


def read(folder: Path) -> Context:
    return read_context(folder, folder / "Dockerfile", "kfgcp.toml [image.shop]")


def _link(folder: Path) -> None:
    (folder / "link").symlink_to("src/a.py")


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda folder: (folder / "src" / "a.py").write_text("a = 2\n"),
    "name": lambda folder: (folder / "src" / "a.py").rename(folder / "src" / "b.py"),
    "new file": lambda folder: (folder / "b").touch(),
    "right to execute": lambda folder: (folder / "src" / "a.py").chmod(0o755),
    "link": _link,
    "Dockerfile": lambda folder: (folder / "Dockerfile").write_text("FROM alpine\n"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_changes_the_digest(folder: Path, change: str) -> None:
    before = read(folder).digest
    CHANGES[change](folder)
    assert read(folder).digest != before


def test_what_differs_between_two_checkouts_does_not_change_the_digest(folder: Path) -> None:
    before = read(folder).digest
    (folder / "src" / "a.py").chmod(0o600)
    os.utime(folder / "src" / "a.py", (1, 1))
    (folder / "empty").mkdir()
    for name in (".git", "src/__pycache__", ".kfgcp"):
        (folder / name).mkdir()
        (folder / name / "file").touch()
    (folder / "images.lock").touch()
    assert read(folder).digest == before


def test_ignored_files_do_not_change_the_digest(folder: Path) -> None:
    (folder / ".dockerignore").write_text("data\n*.csv\n!src/small.csv\n")
    before = read(folder).digest
    (folder / "data").mkdir()
    (folder / "data" / "a").touch()
    (folder / "b.csv").touch()
    assert read(folder).digest == before
    (folder / "src" / "small.csv").touch()
    assert read(folder).digest != before


def test_a_dockerfile_may_be_ignored_or_outside(folder: Path, tmp_path: Path) -> None:
    (folder / ".dockerignore").write_text("Dockerfile\n")
    assert read(folder).dockerfile == "Dockerfile"
    (tmp_path / "Other").write_text("FROM alpine\n")
    outside = read_context(folder, tmp_path / "Other", "kfgcp.toml [image.shop]")
    assert outside.dockerfile_text() == "FROM alpine\n"
    before = outside.digest
    (tmp_path / "Other").write_text("FROM scratch\n")
    again = read_context(folder, tmp_path / "Other", "kfgcp.toml [image.shop]")
    assert again.digest != before


def test_the_archive_has_the_files_without_times_and_owners(folder: Path) -> None:
    _link(folder)
    (folder / "src" / "a.py").chmod(0o700)
    archives = []
    for _ in range(2):
        archive = io.BytesIO()
        read(folder).pack(archive)
        archives.append(archive.getvalue())
        os.utime(folder / "src" / "a.py", (5, 5))
    assert archives[0] == archives[1]
    with tarfile.open(fileobj=io.BytesIO(archives[0])) as opened:
        members = {member.name: member for member in opened}
        script = opened.extractfile("src/a.py")
        assert script is not None
        assert script.read() == b"a = 1\n"
    assert set(members) == {"Dockerfile", "src/a.py", "link"}
    assert members["link"].linkname == "src/a.py"
    assert [members["src/a.py"].mode, members["Dockerfile"].mode] == [0o755, 0o644]
    assert {(member.mtime, member.uid, member.gid) for member in members.values()} == {(0, 0, 0)}


def test_a_large_context_is_refused_before_it_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (folder / "model.bin").open("wb") as file:
        # A file with a hole takes no space on the disk.
        file.truncate(context_module.MAX_BYTES)
    with pytest.raises(ConfigError) as caught:
        read(folder)
    assert caught.value.message == (
        f"kfgcp.toml [image.shop]: the context {folder} has more than 2 GB."
    )
    assert f"{folder}/.dockerignore" in caught.value.hint


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[image.shop\]: the folder .*/gone does not exist\."):
        read(tmp_path / "gone")
    with pytest.raises(ConfigError, match=r"\[image.shop\]: the Dockerfile .*/Dockerfile"):
        read(tmp_path)


@pytest.mark.parametrize(("function", "path"), [("scandir", "src"), ("stat", "src/a.py")])
def test_what_cannot_be_read_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, function: str, path: str
) -> None:
    call_system = getattr(os, function)

    def refuse(name: str | Path, **options: bool) -> object:
        if Path(name) == folder / path and options.get("follow_symlinks") is not True:
            raise PermissionError(errno.EACCES, "Permission denied", str(name))
        return call_system(name, **options)

    # Root may read everything, so the system refuses nothing when root runs this test.
    monkeypatch.setattr(os, function, refuse)
    with pytest.raises(ConfigError) as caught:
        read(folder)
    assert caught.value.message == (
        f"kfgcp.toml [image.shop]: {folder / path} cannot be read: Permission denied."
    )
    assert ".dockerignore" in caught.value.hint


def test_a_folder_that_cannot_be_read_may_be_ignored(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / ".dockerignore").write_text("src\n")
    scan = os.scandir

    def refuse(name: str) -> object:
        if Path(name) == folder / "src":
            raise PermissionError(errno.EACCES, "Permission denied", name)
        return scan(name)

    monkeypatch.setattr(os, "scandir", refuse)
    assert set(read(folder).entries) == {"Dockerfile", ".dockerignore"}


def test_a_pattern_that_is_not_valid_is_named(folder: Path) -> None:
    (folder / ".dockerignore").write_text("data\n[a\n")
    with pytest.raises(ConfigError) as caught:
        read(folder)
    assert caught.value.message == (
        f"kfgcp.toml [image.shop]: {folder}/.dockerignore has the pattern '[a', which is not valid."
    )


def _append(file: Path) -> None:
    with file.open("a") as stream:
        stream.write("b = 1\n")


SAVES: dict[str, Callable[[Path], object]] = {
    "same length": lambda file: file.write_text("a = 2\n"),
    "longer": _append,
    "empty": lambda file: file.write_text(""),
    "gone": lambda file: file.unlink(),
}


@pytest.mark.parametrize("save", SAVES)
def test_a_file_that_is_saved_after_the_digest_is_not_packed(folder: Path, save: str) -> None:
    context = read(folder)
    assert context.digest
    SAVES[save](folder / "src" / "a.py")
    with pytest.raises(ConfigError, match=r"files changed while|cannot be read") as caught:
        context.pack(io.BytesIO())
    assert "\n" not in caught.value.message


def test_the_archive_has_the_digest_of_its_context(folder: Path, tmp_path: Path) -> None:
    _link(folder)
    (folder / "src" / "a.py").chmod(0o755)
    archive = io.BytesIO()
    context = read(folder)
    context.pack(archive)
    archive.seek(0)
    with tarfile.open(fileobj=archive) as opened:
        opened.extractall(tmp_path / "copy", filter="data")
    assert read(tmp_path / "copy").digest == context.digest
