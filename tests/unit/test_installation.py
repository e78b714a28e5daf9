"""Hints name the command that fits how kfgcp was installed.

The forms of direct_url.json are those of
https://packaging.python.org/en/latest/specifications/direct-url-data-structure/. That the commands
work is tried by `make wheel-test`, which runs one of them.
"""

from __future__ import annotations

import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from kfgcp import __version__ as kfgcp_version
from kfgcp import installation
from kfgcp.installation import PACKAGE, Installation, current, install_hint, upgrade_hint
from kfgcp_command import Command

EXTRAS = ("docker", "s3")


def installed(direct_url: dict[str, object] | None) -> Installation:
    return Installation("0.2.0", EXTRAS, PACKAGE, direct_url)


@pytest.mark.parametrize(
    ("direct_url", "requirement"),
    [
        pytest.param(None, "'kfgcp[docker]'", id="index"),
        pytest.param(
            {"url": "file:///home/ann/kfgcp", "dir_info": {"editable": True}},
            "-e '/home/ann/kfgcp[docker]'",
            id="checkout",
        ),
        pytest.param(
            {"url": "file:///home/ann/my%20code/kfgcp", "dir_info": {}},
            "'/home/ann/my code/kfgcp[docker]'",
            id="folder",
        ),
        pytest.param(
            {
                "url": "file:///tmp/kfgcp-0.2.0-py3-none-any.whl",
                "archive_info": {"hashes": {"sha256": "2dc6b5a470a1bde6"}},
            },
            "'kfgcp[docker] @ file:///tmp/kfgcp-0.2.0-py3-none-any.whl'",
            id="wheel",
        ),
        pytest.param(
            {
                "url": "https://git.acme.example/kfgcp.git",
                "vcs_info": {
                    "vcs": "git",
                    "requested_revision": "v0.2.0",
                    "commit_id": "7921be1537eac1e97bc40179a57f0349c2aee67d",
                },
            },
            "'kfgcp[docker] @ git+https://git.acme.example/kfgcp.git@v0.2.0'",
            id="git, a tag",
        ),
        pytest.param(
            {
                "url": "https://git.acme.example/kfgcp.git",
                "vcs_info": {"vcs": "git", "commit_id": "7921be1537eac1e97bc40179a57f0349c2aee67d"},
            },
            "'kfgcp[docker] @ git+https://git.acme.example/kfgcp.git'",
            id="git, the default branch",
        ),
    ],
)
def test_the_requirement_names_where_kfgcp_came_from(
    direct_url: dict[str, object] | None, requirement: str
) -> None:
    assert installed(direct_url).requirement("docker") == requirement


def test_code_that_is_not_installed_is_installed_from_its_folder() -> None:
    missing = Installation("", (), PACKAGE, None)
    assert missing.requirement("docker") == f"-e '{PACKAGE.parent}[docker]'"


def test_the_tests_run_in_an_editable_installation_of_this_checkout() -> None:
    here = current()
    assert here.is_imported
    assert here.direct_url is not None
    assert here.direct_url["dir_info"] == {"editable": True}
    assert here.requirement() == f"-e {PACKAGE.parent}"
    assert {"docker", "dashboard", "all"} <= set(here.extras)


@pytest.fixture
def index_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "current", lambda: installed(None))


@pytest.fixture
def prefix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of the environment."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    return tmp_path


@pytest.mark.usefixtures("index_installation")
def test_pip_is_named_when_the_environment_has_it(
    prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert install_hint("docker") == f"{prefix}/bin/python -m pip install 'kfgcp[docker]'"
    assert upgrade_hint() == f"Upgrade: {prefix}/bin/python -m pip install --upgrade kfgcp"


@pytest.mark.usefixtures("index_installation")
def test_uv_is_named_when_the_environment_has_no_pip(
    prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert install_hint("s3") == f"uv pip install --python {prefix}/bin/python 'kfgcp[s3]'"


@pytest.mark.usefixtures("index_installation")
@pytest.mark.parametrize(
    ("receipt", "command"),
    [
        ("uv-receipt.toml", "uv tool install --force 'kfgcp[s3]'"),
        ("pipx_metadata.json", "pipx install --force 'kfgcp[s3]'"),
    ],
)
def test_an_application_environment_is_changed_by_its_tool(
    prefix: Path, receipt: str, command: str
) -> None:
    (prefix / receipt).touch()
    assert install_hint("s3") == command


@pytest.mark.usefixtures("index_installation")
def test_an_extra_that_the_installed_version_does_not_have() -> None:
    hint = install_hint("dockr")
    assert hint.startswith("The installed kfgcp 0.2.0 has no extra 'dockr'. It has docker, s3.")


def test_a_checkout_beside_an_installed_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = Installation("0.3.0", EXTRAS, Path("/env/site-packages/kfgcp"), None)
    monkeypatch.setattr(installation, "current", lambda: wheel)
    hint = install_hint("docker")
    assert hint.startswith(
        f"Python imports kfgcp from {PACKAGE}, but kfgcp 0.3.0 is installed in /env"
    )
    assert "PYTHONPATH" in hint


@pytest.mark.parametrize("text", ["{", "[]", "null"])
def test_metadata_that_cannot_be_read_give_a_hint_all_the_same(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "kfgcp-0.2.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.3\nName: kfgcp\nVersion: 0.2.0\n")
    (folder / "direct_url.json").write_text(text)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert current().direct_url is None


def test_the_version_names_python_and_kfp_too(kfgcp: Command) -> None:
    shown = kfgcp("--version")
    assert shown.code == 0
    python = ".".join(str(number) for number in sys.version_info[:3])
    assert shown.out == f"kfgcp {kfgcp_version} (Python {python}, kfp {version('kfp')})\n"


def test_the_build_takes_the_version_from_the_package() -> None:
    assert version("kfgcp") == kfgcp_version


def test_a_copy_beside_the_installed_one_is_named(kfgcp: Command, tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "kfgcp", ignore=shutil.ignore_patterns("__pycache__"))
    shown = kfgcp("--version", env={"PYTHONPATH": str(tmp_path)})
    note = shown.out.splitlines()[1]
    assert note.startswith(f"note: Python imports kfgcp from {tmp_path}/kfgcp, but kfgcp ")
