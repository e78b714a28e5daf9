"""The image of the dashboard: nobody is root in it, everything in it is pinned, and it says when it
is ill."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "dashboards"


def _instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n\s*", "", (FOLDER / "Dockerfile").read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]


def _last(name: str) -> str:
    return [rest for instruction, rest in _instructions() if instruction == name][-1]


def test_it_ends_as_somebody_who_is_not_root() -> None:
    names = [name for name, _ in _instructions()]
    user, group = _last("USER").split(":")

    assert int(user) >= 1000
    assert int(group) >= 1000
    assert names.index("USER") > max(
        at for at, name in enumerate(names) if name in ("FROM", "RUN", "COPY")
    )


def test_it_is_asked_how_it_is_where_it_listens() -> None:
    arguments = json.loads(_last("CMD"))
    port = arguments[arguments.index("--port") + 1]

    assert f"http://127.0.0.1:{port}/_stcore/health" in _last("HEALTHCHECK")
    assert json.loads(_last("HEALTHCHECK").partition("CMD ")[2])[0] == "python"
    assert _last("EXPOSE") == port
    assert json.loads(_last("ENTRYPOINT"))[:2] == ["kfgcp", "dashboard"]


def test_it_is_slim_and_the_tools_that_build_it_stay_behind() -> None:
    stages = [rest for name, rest in _instructions() if name == "FROM"]

    assert re.fullmatch(r"PYTHON=python:3\.\d+-slim", _last("ARG"))
    assert len(stages) == 2
    assert "pip install" not in " ".join(
        rest for name, rest in _instructions()[-9:] if name == "RUN"
    )


def test_all_that_is_installed_is_pinned_by_hash() -> None:
    installs = [rest for name, rest in _instructions() if name == "RUN" and "install" in rest]
    blocks = re.split(r"\n(?=[a-z0-9])", (FOLDER / "requirements.txt").read_text(encoding="utf-8"))

    assert all(
        "--require-hashes" in line or line.endswith("--no-deps --no-build-isolation /src")
        for line in installs
    )
    assert len(blocks) > 50
    for block in blocks:
        assert re.match(r"[a-zA-Z0-9_.\[\]-]+==[^\s;]+", block), block[:60]
        assert "--hash=sha256:" in block


def test_it_has_the_streamlit_that_is_tested() -> None:
    def version(file: Path) -> str:
        pin = re.search(r"^streamlit==(\S+)", file.read_text(encoding="utf-8"), re.MULTILINE)
        assert pin
        return pin[1]

    assert version(FOLDER / "requirements.txt") == version(ROOT / "requirements" / "dev.txt")


def test_nothing_secret_and_nothing_from_elsewhere_goes_in() -> None:
    for name, rest in _instructions():
        assert name != "ADD"
        assert name not in ("ENV", "ARG") or not re.search(
            r"(?i)secret|password|token|credential|_key", rest
        )
        assert "curl" not in rest
        assert "wget" not in rest
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[1] == "*"
    for name, rest in _instructions():
        if name == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source}" in ignored


def test_the_terraform_module_sends_requests_where_it_listens() -> None:
    module = (ROOT / "terraform" / "modules" / "dashboard" / "main.tf").read_text(encoding="utf-8")
    ports = re.findall(r"\b(?:container_)?port\s*=\s*(\d+)", module)
    assert ports == [_last("EXPOSE"), _last("EXPOSE")]
