"""The backend of the guide: built as it stands there, installed in a fresh environment, and tested
by the contract."""

import os
import site
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kfgcp.engine.uv_program import uv_program
from patience import PROCESS
from trials import Trial

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "contributing" / "backends.md"
SAMPLE = ("test_verbs.py", "test_record.py")
"""The part of the contract that `make test` runs on it."""


@pytest.fixture(scope="module")
def toy_python(
    tmp_path_factory: pytest.TempPathFactory,
    blocks: Callable[[str, str], list[str]],
    section: Callable[[str, str], str],
) -> Path:
    """Return the Python of an environment that has the distribution of the guide, and else what
    this one has."""
    folder = tmp_path_factory.mktemp("toy")
    text = section(GUIDE.read_text(encoding="utf-8"), "## The distribution")
    (metadata,) = blocks(text, "toml")
    (module,) = blocks(text, "python")
    (folder / "pyproject.toml").write_text(metadata)
    (folder / "kfgcp_toy.py").write_text(module)
    environment = folder / "env"
    python = environment / "bin" / "python"
    uv = uv_program()
    _run(uv, "venv", "--python", sys.executable, environment)
    _run(uv, "pip", "install", "--no-deps", "--python", python, folder, "-e", ROOT)
    (packages,) = environment.glob("lib/python*/site-packages")
    # `addsitedir` reads the .pth files there, too.
    here = site.getsitepackages()[0]
    (packages / "kfgcp_tests.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    return python


def _run(*command: object, **variables: str) -> subprocess.CompletedProcess[str]:
    process = subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        timeout=PROCESS * 10,
        cwd=ROOT,
        env={**os.environ, **variables},
        check=False,
    )
    assert process.returncode == 0, f"{command}\n{process.stdout[-6000:]}{process.stderr[-2000:]}"
    return process


@pytest.mark.trial("contract suite on the backend of the guide")
def test_the_backend_of_the_guide_passes_the_contract(
    toy_python: Path, trial: Trial, tmp_path: Path
) -> None:
    files = [ROOT / "tests" / "contract" / name for name in SAMPLE]
    if trial.size(sample=0, proof=1):
        files = [ROOT / "tests" / "contract"]

    process = _run(
        toy_python,
        *(
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:xdist",
            "-p",
            "no:cacheprovider",
            "-k",
            "[toy",
            f"--basetemp={tmp_path}/runs",
        ),
        *files,
        CONTRACT_BACKEND="toy",
        CONTRACT_SETTINGS='folder = "elsewhere"',
        CONTRACT_ROOT="elsewhere/.kfgcp/artifacts/",
        CONTRACT_LIKE="local",
    )

    passed = int(process.stdout.splitlines()[-1].split()[0])
    trial.count("tests of the contract passed", passed)
    assert passed >= 20


def test_the_environment_of_the_guide_is_one(
    toy_python: Path,
    blocks: Callable[[str, str], list[str]],
    section: Callable[[str, str], str],
    tmp_path: Path,
) -> None:
    (settings,) = blocks(section(GUIDE.read_text(encoding="utf-8"), "## Use it"), "toml")
    (tmp_path / "kfgcp.toml").write_text(settings)

    code = (
        "from pathlib import Path; from kfgcp.backends.registry import load_project;"
        "from kfgcp_toy import ToySettings;"
        f"env = load_project(Path({str(tmp_path)!r}), {{}}).env('toy');"
        "print(ToySettings.of(env.settings).folder)"
    )

    assert _run(toy_python, "-c", code).stdout == "elsewhere\n"
