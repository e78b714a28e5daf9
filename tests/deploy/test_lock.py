"""images.lock: what is written can be read, and a damaged file is one line."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kfgcp.deploy.images.lock import Locked, read_lock, update_lock, write_lock
from kfgcp.errors import ConfigError

CONTENT = "sha256:" + "a" * 64
DIGEST = "sha256:" + "b" * 64


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    images = {
        "tabular": Locked(
            CONTENT,
            DIGEST,
            base="mirror.acme.example/python:3.11",
            base_digest=DIGEST,
            registry="docker.acme.example/ml",
            replaces="python:3.11-slim",
            arguments={"VERSION": "3", "A.B": 'x"y'},
        ),
        "my.shop": Locked(CONTENT),
    }
    write_lock(tmp_path, images)
    assert read_lock(tmp_path) == images
    assert (tmp_path / "images.lock").read_text() == (
        "# Written by `kfgcp images`. Commit this file, so that everybody runs the same images.\n"
        f'\n[image."my.shop"]\ncontent = "{CONTENT}"\n'
        f'\n[image.tabular]\ncontent = "{CONTENT}"\nregistry = "docker.acme.example/ml"\n'
        f'digest = "{DIGEST}"\nbase = "mirror.acme.example/python:3.11"\n'
        f'base_digest = "{DIGEST}"\nreplaces = "python:3.11-slim"\n'
        '[image.tabular.arguments]\n"A.B" = "x\\"y"\n"VERSION" = "3"\n'
    )


def test_without_a_file_nothing_is_locked(tmp_path: Path) -> None:
    assert read_lock(tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<<<<<<< HEAD\n", " is not valid TOML: "),
        ("\xff", " cannot be read: "),
        ("x = 1\n", ": unknown key 'x'."),
        ("image = 1\n", ": image must be a table."),
        ("[image]\nshop = 1\n", " [image.shop] must be a table."),
        ("[image.shop]\n", " [image.shop]: content is missing."),
        ('[image.shop]\ncontent = "a"\n', " [image.shop]: content is 'a', which is not a digest."),
        (f'[image.shop]\ncontent = "{CONTENT}"\nx = 1\n', " [image.shop]: unknown key 'x'."),
        (
            f'[image.shop]\ncontent = "{CONTENT}"\narguments = {{A = 1}}\n',
            " [image.shop]: arguments must be a table of texts.",
        ),
        (f'[image.shop]\ncontent = "{CONTENT}"\nbase = 1\n', ": base is 1, which is not a text."),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "images.lock").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        read_lock(tmp_path)
    assert problem in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint.endswith("kfgcp images lock")


def test_a_file_that_cannot_be_written_stays(tmp_path: Path) -> None:
    (tmp_path / "images.lock").mkdir()
    with pytest.raises(ConfigError, match=r"images\.lock cannot be written"):
        write_lock(tmp_path, {})
    assert stat.S_ISDIR((tmp_path / "images.lock").stat().st_mode)


def test_commands_at_the_same_time_keep_the_entries_of_each_other(tmp_path: Path) -> None:
    names = [f"image-{number}" for number in range(40)]

    def record(name: str) -> None:
        update_lock(tmp_path, tmp_path / ".kfgcp", {name: Locked(CONTENT)}, {})

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(record, names))

    assert set(read_lock(tmp_path)) == set(names)


@pytest.mark.parametrize(
    ("previous", "expected"), [(Locked(CONTENT), DIGEST), (Locked(CONTENT, DIGEST), "")]
)
def test_a_digest_that_another_command_wrote_meanwhile_stays(
    tmp_path: Path, previous: Locked, expected: str
) -> None:
    write_lock(tmp_path, {"shop": Locked(CONTENT, DIGEST)})

    entries = {"shop": Locked(CONTENT)}
    written = update_lock(tmp_path, tmp_path / ".kfgcp", entries, {"shop": previous})

    assert written == read_lock(tmp_path)
    assert written["shop"].digest == expected
