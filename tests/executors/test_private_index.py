"""An index that wants a password: the password is on no command line, and in nothing that is
shown."""

import base64
import http.server
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kfgcp.engine.executors.venv import Builder, BuildError
from kfgcp.engine.pinning import pin
from kfgcp.engine.requirements import READY, Requirements
from kfgcp.model import Run, RunState
from kfgcp_command import Command
from small_project import write

PASSWORD = "correct-horse-7"  # noqa: S105
BASIC = "Basic " + base64.b64encode(f"bob:{PASSWORD}".encode()).decode()

MakeWheel = Callable[[str, str], Path]


@dataclass
class Index:
    """A server with wheels, for who knows the password.

    files: more of what it has, by path. command_lines: of all processes, seen during requests.
    served: the paths of requests with the password.
    """

    address: str
    wheels: dict[str, Path] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    command_lines: list[bytes] = field(default_factory=list)
    served: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://bob:{PASSWORD}@{self.address}/simple"

    def answer(self, path: str) -> bytes | None:
        """Return a page of links, a wheel, or None."""
        self.served.append(path)
        for process in Path("/proc").glob("[0-9]*"):
            try:
                self.command_lines.append((process / "cmdline").read_bytes())
            except OSError:  # it has ended meanwhile
                continue
        if path.partition("?")[0] in self.files:
            return self.files[path.partition("?")[0]].read_bytes()
        parts = path.strip("/").split("/")
        name = parts[1].replace("-", "_") if len(parts) == 2 else ""
        if parts[0] == "simple" and name in self.wheels:
            wheel = self.wheels[name].name
            link = f"<a href='/files/{wheel}'>{wheel}</a>"
            return f"<!DOCTYPE html><html><body>{link}</body></html>".encode()
        for wheel in self.wheels.values():
            if parts == ["files", wheel.name]:
                return wheel.read_bytes()
        return None


@pytest.fixture
def index() -> Iterator[Index]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.headers.get("Authorization") == BASIC
            body = index.answer(self.path) if allowed else None
            status = 401 if not allowed else 404 if body is None else 200
            self.send_response(status)
            if not allowed:
                self.send_header("WWW-Authenticate", "Basic")
            self.send_header(
                "Content-Type",
                "text/html" if self.path.startswith("/simple") else "application/zip",
            )
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body or b"")

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    index = Index(f"127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield index
    server.shutdown()
    server.server_close()


def _assert_hidden(index: Index) -> None:
    """Check that uv was seen at work, and the password on no command line."""
    assert any(b"--compile-bytecode" in line and b"install" in line for line in index.command_lines)
    assert not [line for line in index.command_lines if PASSWORD.encode() in line]


@pytest.mark.parametrize("option", ["--index-url", "-i", "--extra-index-url"])
def test_an_index_with_a_password_is_used(
    index: Index, wheel: MakeWheel, tmp_path: Path, option: str
) -> None:
    index.wheels["probe_private"] = wheel("probe_private", "1")
    base = (
        ()
        if option != "--extra-index-url"
        else (f"--index-url http://bob:{PASSWORD}@{index.address}/empty",)
    )
    options = (*base, f"{option} {index.url}", f"--trusted-host {index.url}")
    builder = Builder(Requirements(("probe-private==1",), options, None), tmp_path / "envs")

    python = builder.build()

    assert (python.parents[1] / READY).exists()
    assert "probe-private==1" in builder.output
    assert PASSWORD not in builder.output
    assert any(path.startswith("/files/") for path in index.served)
    _assert_hidden(index)


def test_a_package_whose_address_has_a_password_is_installed(
    index: Index, wheel: MakeWheel, tmp_path: Path
) -> None:
    file = wheel("probe_direct", "2")
    index.wheels["probe_direct"] = file
    other = f"probe_beside @ {wheel('probe_beside', '1').as_uri()}"
    direct = f"probe_direct @ http://bob:{PASSWORD}@{index.address}/files/{file.name}"
    builder = Builder(Requirements((other, direct), (), None), tmp_path / "envs")

    builder.build()

    assert "probe-direct==2" in builder.output
    assert "probe-beside==1" in builder.output
    assert PASSWORD not in builder.output
    _assert_hidden(index)


def _serve_repository(index: Index, folder: Path) -> str:
    """Let a server have a git repository with a package, in the way that needs no program; return
    its address."""
    write(folder / "source", "served")
    git = (
        "git",
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@example.invalid",
        "-c",
        "init.defaultBranch=main",
    )
    for words in (
        (*git, "-C", "source", "init", "-q"),
        (*git, "-C", "source", "add", "."),
        (*git, "-C", "source", "commit", "-qm", "first"),
        (*git, "clone", "-q", "--bare", "source", "bare.git"),
        (*git, "-C", "bare.git", "update-server-info"),
    ):
        subprocess.run(words, cwd=folder, check=True)
    bare = folder / "bare.git"
    index.files |= {
        f"/mine.git/{file.relative_to(bare)}": file for file in bare.rglob("*") if file.is_file()
    }
    return f"http://bob:{PASSWORD}@{index.address}/mine.git"


@pytest.mark.parametrize("count", ["", "1"])
def test_a_repository_with_a_password_is_installed(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: str
) -> None:
    """Also when git has settings in its environment already; the second one is for another
    repository."""
    if count:
        monkeypatch.setenv("GIT_CONFIG_COUNT", count)
        monkeypatch.setenv("GIT_CONFIG_KEY_0", f"http.http://{index.address}/other.extraHeader")
        monkeypatch.setenv("GIT_CONFIG_VALUE_0", "Authorization: Basic none")
    address = _serve_repository(index, tmp_path / "git")
    builder = Builder(Requirements((f"mine @ git+{address}@main",), (), None), tmp_path / "envs")

    python = builder.build()

    commit = subprocess.check_output(
        ["git", "-C", tmp_path / "git" / "source", "rev-parse", "HEAD"], text=True
    ).strip()
    assert commit in builder.output
    installed = list(python.parents[1].rglob("mine.py"))
    assert [file.read_text() for file in installed] == ["VALUE = 'served'\n"]
    assert PASSWORD not in builder.output
    command_lines = [line.split(b"\0") for line in index.command_lines]
    assert any(b"ls-remote" in line for line in command_lines)
    assert any(b"fetch" in line for line in command_lines)
    assert not [line for line in index.command_lines if PASSWORD.encode() in line]
    stored = [file for file in python.parents[1].rglob("*.json") if PASSWORD in file.read_text()]
    assert stored == []


def test_a_repository_whose_password_does_not_belong_in_a_url_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """git would have the whole address on its command line."""
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "git").write_text('#!/bin/sh\necho "$@" > "$0.log"\n')
    (tmp_path / "git").chmod(0o755)

    for address in ("https://bob:p/w@h.invalid/x.git", "https://h.invalid/x.git"):
        pin(Requirements((f"git+{address}@main",), (), None), tmp_path, tmp_path / "refs")

        asked = [file.read_text() for file in tmp_path.glob("git.log")]
        expected = [] if "bob" in address else [f"ls-remote {address} main main^{{}}\n"]
        assert asked == expected


def test_a_missing_package_is_reported_without_the_password(index: Index, tmp_path: Path) -> None:
    builder = Builder(
        Requirements(("absent-package",), (f"--index-url {index.url}",), None), tmp_path / "envs"
    )

    with pytest.raises(BuildError) as caught:
        builder.build()

    assert "absent-package" in str(caught.value)
    assert PASSWORD not in str(caught.value) + builder.output
    _assert_hidden(index)


@pytest.mark.parametrize(
    "password", ["p#wsecret9", "p/wsecret9", "p?wsecret9", "wsecret9#p", "p wsecret9"]
)
def test_a_password_that_does_not_belong_in_a_url_is_not_shown(
    execute: Callable[..., Run], kfgcp: Command, home: Path, password: str
) -> None:
    """uv refuses the address and quotes it."""
    source = f"""
from kfp import dsl

@dsl.component(
    base_image="python:3.11",
    packages_to_install=["absent-package"],
    pip_index_urls=["https://bob:{password}@127.0.0.1:9/simple"],
)
def task() -> str:
    return ""

@dsl.pipeline(name="private")
def pipeline() -> str:
    return task().output
"""
    run = execute(source)
    (home / "other.py").write_text(source.replace('return ""', "return 'x'"), encoding="utf-8")
    diff = kfgcp("diff", "pipeline.py", "other.py")

    assert run.state is RunState.FAILED
    texts = [json.dumps(run.to_dict()), diff.out + diff.err]
    texts += [
        file.read_text(errors="replace")
        for file in (home / ".kfgcp" / "logs").rglob("*")
        if file.is_file()
    ]
    assert len(texts) > 2
    assert not [text for text in texts if "wsecret9" in text]


def test_the_record_of_a_failed_run_does_not_show_the_password(
    execute: Callable[..., Run], kfgcp: Command, home: Path, index: Index
) -> None:
    """The component names a file on the index that is not there, so that uv says the whole
    address."""
    source = f"""
from kfp import dsl

@dsl.component(
    base_image="python:3.11",
    packages_to_install=[
        "gone @ http://bob:{PASSWORD}@{index.address}/files/gone-1-py3-none-any.whl",
    ],
    pip_index_urls=["{index.url}"],
)
def task() -> str:
    return ""

@dsl.pipeline(name="private")
def pipeline() -> str:
    return task().output
"""
    run = execute(source)
    (home / "other.py").write_text(source.replace('return ""', "return 'x'"), encoding="utf-8")
    shown = [kfgcp(*words) for words in (
        ("show", run.run_id), ("show", run.run_id, "--json"),
        ("logs", run.run_id), ("list", "--json"),
        ("export", "--table", "tasks"), ("diff", "pipeline.py", "other.py"),
    )]  # fmt: skip

    assert run.state is RunState.FAILED
    assert run.error is not None
    assert index.address in run.error.message
    texts = [json.dumps(run.to_dict()), *(result.out + result.err for result in shown)]
    texts += [
        file.read_text(errors="replace")
        for file in (home / ".kfgcp" / "logs").rglob("*")
        if file.is_file()
    ]
    assert not [text for text in texts if PASSWORD in text]
    assert all(result.code in (0, 4, 6) for result in shown)
    _assert_hidden(index)
