"""The examples in docstrings run, and their results are the ones that the docstrings show."""

import doctest
import importlib
import tomllib
from pathlib import Path

import pytest

import kfgcp

ROOT = Path(kfgcp.__file__).parents[1]
# Import names of the packages that only extras of kfgcp install.
OPTIONAL = (
    "boto3",
    "cloudpathlib",
    "docker",
    "fairlearn",
    "google.cloud",
    "pandas",
    "pyarrow",
    "sklearn",
    "skops",
    "streamlit",
)


def _modules_with_examples() -> list[str]:
    """Return the names of the modules of the wheel that contain a doctest.

    The files are only read. To import them all would make every run of the tests slow to start.
    """
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    names = []
    for package in settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        folder = ROOT / package
        for file in sorted(folder.rglob("*.py")):
            if ">>>" in file.read_text(encoding="utf-8"):
                parts = file.relative_to(folder.parent).with_suffix("").parts
                names.append(".".join(parts).removesuffix(".__init__"))
    return names


MODULES = _modules_with_examples()


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_show_what_happens(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if not any(missing == package or missing.startswith(f"{package}.") for package in OPTIONAL):
            raise
        pytest.skip(f"{missing} is not installed")
    results = doctest.testmod(module, globs=vars(module).copy())
    assert results.attempted > 0, f"{name} contains >>> outside of a docstring"
    assert results.failed == 0, "the captured output shows the examples that failed"


def test_the_modules_with_examples_are_found() -> None:
    assert "kfgcp.model" in MODULES
