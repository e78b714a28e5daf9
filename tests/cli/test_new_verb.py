"""A new verb is a module and a method of `Workspace`. Everything else follows from them."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from patience import PROCESS

ROOT = Path(__file__).parents[2]
MODULE = '''"""Greet a run."""

import click

from kfgcp.cli import options
from kfgcp.workspace import Workspace


@click.command(epilog="Example: kfgcp greet a1b2")
@options.run_argument
@options.workspace
def command(workspace: Workspace, run: str) -> None:
    """Greet a run."""
    click.echo(workspace.greet(run))
'''
METHOD = '''
    def greet(self, run: str = "latest") -> str:
        """Return a greeting."""
        return f"hello {run}"
'''


class Checkout:
    """A copy of the package and of what is generated from it."""

    def __init__(self, root: Path, environment: dict[str, str]) -> None:
        self.root = root
        self._environment = environment

    def python(self, *arguments: str) -> str:
        """Return what a Python prints that imports kfgcp from the copy."""
        result = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.root,
            env=self._environment | {"PYTHONPATH": str(self.root)},
            capture_output=True,
            text=True,
            timeout=PROCESS,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout


@pytest.fixture
def checkout(tmp_path: Path, environment: Callable[[], dict[str, str]]) -> Checkout:
    root = tmp_path / "checkout"
    shutil.copytree(ROOT / "kfgcp", root / "kfgcp", ignore=shutil.ignore_patterns("__pycache__"))
    generators = root / "docs" / "reference"
    generators.mkdir(parents=True)
    shutil.copy(ROOT / "docs" / "reference" / "generate_public_names.py", generators)
    shutil.copy(ROOT / "README.md", root)
    return Checkout(root, environment())


def test_a_new_verb_is_a_module_and_a_method(checkout: Checkout) -> None:
    root = checkout.root
    (root / "kfgcp" / "cli" / "verbs" / "greet.py").write_text(MODULE, encoding="utf-8")
    with (root / "kfgcp" / "workspace" / "run_methods.py").open("a", encoding="utf-8") as methods:
        methods.write(METHOD)

    command = "from kfgcp.cli.main import main; main()"
    help_lines = checkout.python("-c", command, "--help").splitlines()
    assert "  greet      Greet a run." in help_lines
    assert checkout.python("-c", command, "greet", "a1b2") == "hello a1b2\n"

    checkout.python("docs/reference/generate_public_names.py")
    assert checkout.python("-c", "import kfgcp; print(kfgcp.greet())") == "hello latest\n"
    package = (root / "kfgcp" / "__init__.py").read_text(encoding="utf-8")
    assert "    greet = _workspace.greet\n" in package
    assert "| `greet` | Greet a run. |\n" in (root / "README.md").read_text(encoding="utf-8")
