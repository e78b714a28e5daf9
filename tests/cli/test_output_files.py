"""What `-o` writes is whole: a file that was there is replaced at once, or stays as it was."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kfgcp.model import Run
from kfgcp.store.store import Store
from kfgcp_command import Command


@pytest.fixture
def full(mount: Callable[[str], Path]) -> Path:
    """A full disk with a file on it."""
    folder = mount("size=16k")
    (folder / "old.yaml").write_text("old\n")
    with (folder / "ballast").open("wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(b"x" * 4096)
        except OSError:
            pass
    return folder


@pytest.mark.parametrize("verb", ["export", "compile"])
def test_a_full_disk_leaves_what_was_there(
    verb: str,
    full: Path,
    kfgcp: Command,
    pipeline_file: Callable[[str], Path],
    store: Store,
    make_run: Callable[..., Run],
) -> None:
    store.add_run(make_run(params={"text": "x" * 20_000}))
    file = full / "old.yaml"
    if verb == "export":
        result = kfgcp("export", "--format", "csv", "-o", file)
    else:
        result = kfgcp("compile", pipeline_file("echo"), "-o", file)

    assert (result.code, result.out) == (5, "")
    assert result.err.splitlines() == [
        f"error: {file} cannot be written: No space left on device.",
        "hint: Choose another file with -o.",
    ]
    assert file.read_text() == "old\n"
    assert sorted(os.listdir(full)) == ["ballast", "old.yaml"]


def test_export_and_compile_replace_a_file_and_keep_its_permissions(
    home: Path,
    kfgcp: Command,
    pipeline_file: Callable[[str], Path],
    store: Store,
    make_run: Callable[..., Run],
) -> None:
    store.add_run(make_run())
    for name, arguments in (
        ("runs.csv", ["export"]),
        ("echo.yaml", ["compile", pipeline_file("echo")]),
    ):
        file = home / name
        file.write_text("old")
        file.chmod(0o640)
        with file.open() as reader:
            result = kfgcp(*arguments, "-o", file)

            assert result.code == 0, result.err
            assert reader.read() == "old", "the file was written in place"
        assert file.stat().st_mode & 0o777 == 0o640
        assert len(file.read_text()) > 100


def test_export_to_standard_output_by_its_name(
    kfgcp: Command, store: Store, make_run: Callable[..., Run]
) -> None:
    store.add_run(make_run())

    result = kfgcp("export", "--format", "csv", "-o", "/dev/stdout")

    assert result.code == 0, result.err
    assert result.out == kfgcp("export").out
