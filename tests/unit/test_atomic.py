"""Files are written whole or not at all."""

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kfgcp.atomic import write_file
from kfgcp_command import Somebody
from patience import PROCESS, REQUEST

WRITE = """
import sys
from pathlib import Path
from kfgcp.atomic import write_file

write_file(Path(sys.argv[1]), {data})
"""


def test_a_reader_of_the_old_file_reads_it_to_the_end(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    file.write_bytes(b"old")
    with file.open("rb") as reader:
        write_file(file, b"new and longer")

        assert reader.read() == b"old"
    assert file.read_bytes() == b"new and longer"
    assert os.listdir(tmp_path) == ["runs.csv"]


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    versions = {b"a" * 300_000, b"b" * 200_000}
    write_file(file, b"a" * 300_000)
    seen: list[bytes] = []
    is_over = threading.Event()

    def read() -> None:
        while not is_over.is_set():
            seen.append(file.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(50):
        for data in versions:
            write_file(file, data)
    is_over.set()
    reader.join(REQUEST)

    assert set(seen) <= versions
    assert seen


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o755])
def test_the_permissions_of_the_old_file_are_kept(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "file"
    file.touch()
    file.chmod(mode)

    write_file(file, b"new")

    assert stat.S_IMODE(file.stat().st_mode) == mode


def test_a_new_file_has_the_permissions_that_new_files_have(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()

    write_file(tmp_path / "new", b"new")

    assert (tmp_path / "new").stat().st_mode == plain.stat().st_mode


def test_root_leaves_a_file_to_its_owner(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    file = tmp_path / "file"
    file.touch()
    os.chown(file, 54321, 54322)

    write_file(file, b"new")

    assert (file.stat().st_uid, file.stat().st_gid) == (54321, 54322)


def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / "real.csv").write_bytes(b"old")
    (folder / "next").symlink_to("real.csv")
    (tmp_path / "link.csv").symlink_to("shared/next")
    (tmp_path / "dangling").symlink_to("shared/not-yet")

    write_file(tmp_path / "link.csv", b"new")
    write_file(tmp_path / "dangling", b"first")

    assert os.readlink(tmp_path / "link.csv") == "shared/next"
    assert (folder / "real.csv").read_bytes() == b"new"
    assert (folder / "not-yet").read_bytes() == b"first"
    assert sorted(os.listdir(folder)) == ["next", "not-yet", "real.csv"]


def test_links_in_a_circle_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")

    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        write_file(tmp_path / "a", b"")


def test_a_name_as_long_as_the_file_system_takes(tmp_path: Path) -> None:
    file = tmp_path / ("ä" * 127)

    write_file(file, b"new")

    assert file.read_bytes() == b"new"
    assert len(os.listdir(tmp_path)) == 1


def test_a_pipe_gets_what_is_written(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()

    write_file(pipe, b"through")

    reader.join(REQUEST)
    assert read == [b"through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "link"])
def test_standard_output_by_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "link").symlink_to("/dev/stdout")
    code = WRITE.format(data=b"x")
    command = [sys.executable, "-c", code, name]

    piped = subprocess.run(command, capture_output=True, cwd=tmp_path, timeout=PROCESS, check=True)
    with (tmp_path / "to").open("wb") as to:
        subprocess.run(command, stdout=to, cwd=tmp_path, timeout=PROCESS, check=True)

    assert piped.stdout == b"x"
    assert (tmp_path / "to").read_bytes() == b"x"
    assert sorted(os.listdir(tmp_path)) == ["link", "to"]


def test_a_full_disk_leaves_the_old_file_and_nothing_beside_it(
    mount: Callable[[str], Path],
) -> None:
    folder = mount("size=64k")
    file = folder / "runs.csv"
    write_file(file, b"old" * 1000)

    with pytest.raises(OSError, match="No space left"):
        write_file(file, b"x" * 200_000)

    assert file.read_bytes() == b"old" * 1000
    assert os.listdir(folder) == ["runs.csv"]


def test_what_cannot_be_replaced_is_written_in_its_place(somebody: Somebody) -> None:
    """The folder is not theirs to write, the file is: so it is in many containers."""
    folder = somebody.folder / "etc"
    folder.mkdir()
    files = [folder / "mine", folder / "protected"]
    for file, mode in zip(files, (0o666, 0o444), strict=True):
        file.write_text("old")
        file.chmod(mode)
    folder.chmod(0o555)
    code = (
        "import sys; from pathlib import Path; from kfgcp.atomic import write_file\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        write_file(Path(name), b'new')\n"
        "    except OSError as error:\n"
        "        print(error.strerror)\n"
    )

    done = somebody.run(sys.executable, "-c", code, *map(str, files), str(folder / "another"))

    folder.chmod(0o755)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == ["Permission denied"] * 2
    assert [file.read_text() for file in files] == ["new", "old"]
    assert sorted(os.listdir(folder)) == ["mine", "protected"]


def test_a_file_that_is_protected_is_not_replaced(somebody: Somebody) -> None:
    file = somebody.folder / "protected"
    file.write_text("old")
    file.chmod(0o444)
    code = WRITE.format(data=b"new")

    done = somebody.run(sys.executable, "-c", code, str(file))

    assert "PermissionError" in done.err
    assert file.read_text() == "old"
