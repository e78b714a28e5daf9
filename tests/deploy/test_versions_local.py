"""The registry in a folder: several processes, kills at any moment, hostile names, damage."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kfgcp.backends.local.versions import LocalVersions
from kfgcp.backends.versions import RegisteredVersion, VersionUpload
from kfgcp.deploy.versions.push import UNCHANGED, UPLOADED, prepare_push, run_push
from kfgcp.errors import BadAnswer, ConfigError, NotFound, StateError, UsageError
from kfgcp.spec.load import from_text
from kfgcp.workspace import Workspace
from patience import PROCESS

VERSION = "sha256:" + "ab" * 32
UPLOAD = VersionUpload("acme", "churn", VERSION, "text: 1\n")
PIPELINE = (
    "pipelineInfo: {name: greet}\nschemaVersion: 2.1.0\n"
    "root: {dag: {tasks: {say: {componentRef: {name: comp-say}}}}}\n"
    "components: {comp-say: {executorLabel: exec-say}}\n"
    "deploymentSpec: {executors: {exec-say: {container: {image: python}}}}\n"
)

# Uploads a version and sets a tag. The process kills itself before the change of the file system
# with the number in its first argument. Python reports the changes to the audit hook (PEP 578).
KILLED = """
import os, signal, sys
from pathlib import Path
from kfgcp.backends.local.versions import LocalVersions
from kfgcp.backends.versions import VersionUpload

folder, number = sys.argv[1], int(sys.argv[2])
changes = 0

def count(event, arguments):
    global changes
    changes_files = event in ("os.rename", "os.mkdir", "os.remove", "os.chmod")
    if event == "open" and isinstance(arguments[2], int):
        changes_files = bool(arguments[2] & os.O_CREAT)
    if changes_files and str(arguments[0]).startswith(folder):
        changes += 1
        if changes == number:
            os.kill(os.getpid(), signal.SIGKILL)

registry = LocalVersions(Path(folder))
upload = VersionUpload("acme", "churn", "sha256:" + "ab" * 32, "text: 1\\n")
sys.addaudithook(count)
registry.set_tag(registry.upload(upload), "stable")
"""

# Waits for a line on its standard input, and then uploads a version and sets the tag of its
# argument.
PUSHING = """
import sys
from pathlib import Path
from kfgcp.backends.local.versions import LocalVersions
from kfgcp.backends.versions import VersionUpload

registry = LocalVersions(Path(sys.argv[1]))
upload = VersionUpload("acme", "churn", "sha256:" + "ab" * 32, "text: 1\\n")
print("ready", flush=True)
sys.stdin.readline()
entry = registry.upload(upload)
registry.set_tag(entry, sys.argv[2])
registry.set_tag(entry, "stable")
"""


@pytest.fixture
def folder(home: Path) -> Path:
    return home / "registry"


@pytest.fixture
def registry(folder: Path) -> LocalVersions:
    return LocalVersions(folder)


def _check_whole(registry: LocalVersions, folder: Path) -> None:
    """Check that the registry has the version once with its whole text, or not at all."""
    entries = registry.list_versions("churn")
    assert len(entries) <= 1
    for entry in entries:
        assert entry.version == VERSION
        assert registry.read_text(entry) == UPLOAD.text
    tags = folder / "churn" / "tags"
    if tags.is_dir() and [name for name in os.listdir(tags) if not name.startswith(".")]:
        assert entries[0].tags == ("stable",)


def test_a_push_that_is_killed_at_any_moment_breaks_nothing(home: Path) -> None:
    killed = 0
    while True:
        folder = home / f"registry-{killed}"
        arguments = [sys.executable, "-c", KILLED, str(folder), str(killed + 1)]
        result = subprocess.run(arguments, timeout=PROCESS, check=False)
        if result.returncode == 0:
            break
        assert result.returncode == -signal.SIGKILL
        registry = LocalVersions(folder)
        _check_whole(registry, folder)

        registry.set_tag(registry.upload(UPLOAD), "stable")

        [entry] = registry.list_versions("churn")
        assert (registry.read_text(entry), entry.tags) == (UPLOAD.text, ("stable",))
        killed += 1
    # Folders: the registry, the pipeline, texts, entries, tags. Files, each written beside and
    # renamed: the format, the text, the entry, the tag.
    assert killed >= 5 + 4 * 2


def test_several_pushes_at_once_make_one_entry(registry: LocalVersions, folder: Path) -> None:
    tags = [f"tag-{number}" for number in range(4)]
    processes = []
    for tag in tags:
        arguments = [sys.executable, "-c", PUSHING, str(folder), tag]
        processes.append(
            subprocess.Popen(
                arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
            )
        )
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.close()
    for process in processes:
        assert process.wait(timeout=PROCESS) == 0
        assert process.stdout is not None
        process.stdout.close()

    [entry] = registry.list_versions("churn")
    assert entry.tags == ("stable", *tags)
    assert registry.read_text(entry) == UPLOAD.text


@pytest.mark.parametrize(
    "name", ["../../escape", "/etc/passwd", "..", ".", "a/b", "Churn", "x\0y", "é", "%2E%2E", "~"]
)
def test_a_hostile_name_stays_in_the_folder(
    registry: LocalVersions, folder: Path, home: Path, name: str
) -> None:
    before = set(home.rglob("*"))

    entry = registry.upload(VersionUpload("acme", name, VERSION, "text: 1\n"))
    registry.set_tag(entry, "stable")

    assert registry.list_pipelines() == [name]
    assert [found.tags for found in registry.list_versions(name)] == [("stable",)]
    new = set(home.rglob("*")) - before
    assert all(path == folder or folder in path.parents for path in new)
    assert len(list(folder.iterdir())) == 2


def test_names_that_differ_in_case_are_different_pipelines(
    registry: LocalVersions, folder: Path
) -> None:
    for name in ("churn", "Churn"):
        registry.upload(VersionUpload("acme", name, VERSION, "text: 1\n"))

    folded = {path.name.casefold() for path in folder.iterdir() if path.is_dir()}
    assert len(folded) == 2


@pytest.mark.parametrize("tag", ["../x", "..", "a/b", "", ".hidden", "a\0"])
def test_a_hostile_tag_is_refused(registry: LocalVersions, tag: str) -> None:
    entry = registry.upload(UPLOAD)

    with pytest.raises(UsageError, match="is not a tag"):
        registry.set_tag(entry, tag)


def test_a_name_that_is_too_long_is_refused(registry: LocalVersions, folder: Path) -> None:
    with pytest.raises(UsageError, match="cannot have a pipeline"):
        registry.upload(VersionUpload("acme", "x" * 300, VERSION, "text: 1\n"))
    assert not folder.exists()


def test_a_folder_with_other_files_is_not_a_registry(registry: LocalVersions, folder: Path) -> None:
    folder.mkdir()
    (folder / "train.py").write_text("")

    for call in (registry.list_pipelines, lambda: registry.upload(UPLOAD)):
        with pytest.raises(ConfigError, match=r"is not a registry: it has no registry\.json"):
            call()
    assert os.listdir(folder) == ["train.py"]


@pytest.mark.parametrize("text", ["", "[]", '{"format": "kfgcp-versions", "version": 2}'])
def test_a_registry_of_another_format_is_refused(
    registry: LocalVersions, folder: Path, text: str
) -> None:
    folder.mkdir()
    (folder / "registry.json").write_text(text)

    with pytest.raises(ConfigError, match="does not have the format"):
        registry.upload(UPLOAD)
    assert os.listdir(folder) == ["registry.json"]


def test_a_changed_text_is_noticed(registry: LocalVersions, folder: Path) -> None:
    entry = registry.upload(UPLOAD)
    [file] = (folder / "churn" / "texts").iterdir()
    file.write_text("text: 2\n")

    with pytest.raises(BadAnswer, match="was changed after it was pushed"):
        registry.read_text(entry)

    file.unlink()
    with pytest.raises(NotFound, match="does not exist any more"):
        registry.read_text(entry)


def test_a_damaged_entry_is_named(registry: LocalVersions, folder: Path) -> None:
    registry.upload(UPLOAD)
    [file] = (folder / "churn" / "entries").iterdir()
    file.write_text(json.dumps({"version": 1}))

    with pytest.raises(BadAnswer, match=r"is not an entry of a registry"):
        registry.list_versions("churn")


def test_a_file_in_the_place_of_the_folder_is_one_line(home: Path) -> None:
    (home / "file").write_text("")

    with pytest.raises(StateError, match="cannot be read: Not a directory") as caught:
        LocalVersions(home / "file").list_pipelines()
    assert "\n" not in caught.value.message


def test_a_text_that_comes_back_is_the_newest_again(registry: LocalVersions) -> None:
    other = VersionUpload("acme", "churn", VERSION, "text: 2\n")
    first = registry.upload(UPLOAD)
    registry.set_tag(first, "stable")
    registry.upload(other)

    again = registry.upload(UPLOAD)

    assert again.tags == ("stable",)
    refs = [entry.ref for entry in registry.list_versions("churn")]
    assert refs == [first.ref, other.text_digest]


def test_the_key_registry_is_relative_to_kfgcp_toml(home: Path) -> None:
    text = '[env.local]\nbackend = "local"\nregistry = "shared/versions"\n'
    (home / "kfgcp.toml").write_text(text)
    (home / "p.yaml").write_text(PIPELINE)
    (home / "sub").mkdir()

    with Workspace.open(home / "sub") as workspace:
        pushed = workspace.push(str(home / "p.yaml"))

    assert pushed.registry == str(home / "shared" / "versions")
    assert (home / "shared" / "versions" / "greet" / "entries").is_dir()


class _RacingVersions(LocalVersions):
    """A registry in which another process pushes after the list was read."""

    def __init__(self, folder: Path, rival: Callable[[LocalVersions], object]) -> None:
        super().__init__(folder)
        self._rival = rival

    def upload(self, upload: VersionUpload) -> RegisteredVersion:
        self._rival(LocalVersions(Path(self.registry)))
        return super().upload(upload)


def test_of_two_pushes_with_one_fixed_tag_one_is_refused(folder: Path) -> None:
    other = VersionUpload("acme", "greet", VERSION, "text: 1\n")

    def rival(registry: LocalVersions) -> None:
        registry.set_tag(registry.upload(other), "v1", fixed=True)

    spec = from_text(PIPELINE, "p.yaml")
    push = prepare_push("acme", spec, spec, PIPELINE, ["v1"])

    with pytest.raises(UsageError) as caught:
        run_push(_RacingVersions(folder, rival), push, "local")

    assert caught.value.message == (
        f"The tag v1 of greet points to {VERSION[:19]} and cannot move to {spec.version[:19]}."
    )
    entries = LocalVersions(folder).list_versions("greet")
    assert {entry.version: entry.tags for entry in entries} == {VERSION: ("v1",), spec.version: ()}


def test_a_fixed_tag_is_set_again_on_its_own_entry(registry: LocalVersions, folder: Path) -> None:
    entry = registry.upload(UPLOAD)

    registry.set_tag(entry, "v1", fixed=True)
    registry.set_tag(entry, "v1", fixed=True)

    assert registry.list_versions("churn")[0].tags == ("v1",)
    assert os.listdir(folder / "churn" / "tags") == ["v1"]


def test_a_fixed_tag_of_a_removed_entry_does_not_move(
    registry: LocalVersions, folder: Path
) -> None:
    registry.set_tag(registry.upload(UPLOAD), "v1", fixed=True)
    [file] = (folder / "churn" / "entries").iterdir()
    file.unlink()
    other = registry.upload(VersionUpload("acme", "churn", VERSION, "text: 2\n"))

    with pytest.raises(UsageError, match="points to an entry that was removed"):
        registry.set_tag(other, "v1", fixed=True)


@pytest.mark.parametrize("damage", ["removed", "changed"])
def test_a_push_writes_a_text_again_that_is_missing_or_was_changed(
    registry: LocalVersions, folder: Path, damage: str
) -> None:
    spec = from_text(PIPELINE, "p.yaml")
    push = prepare_push("acme", spec, spec, PIPELINE, ["v1"])
    pushed = run_push(registry, push, "local")
    [file] = (folder / "greet" / "texts").iterdir()
    if damage == "removed":
        file.unlink()
    else:
        file.write_text("text: 2\n")

    again = run_push(registry, push, "local")

    assert again.action == UPLOADED
    assert registry.read_text(again.entry) == PIPELINE
    assert registry.list_versions("greet") == [pushed.entry]
    assert run_push(registry, push, "local").action == UNCHANGED
