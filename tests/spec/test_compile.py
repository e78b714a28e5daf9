"""From Python files to compiled pipelines."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from kfgcp.errors import SpecError, UsageError
from kfgcp.spec.load import load

HEAD = "from kfp import dsl\n\n"
COMPONENT = """
@dsl.component
def {0}(x: int = 1) -> int:
    return x

"""
PIPELINE = """
@dsl.pipeline
def {0}(n: int = 1):
    {1}(x=n)

"""


def write(folder: Path, text: str, name: str = "pipe.py") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def failure(path: Path | str) -> SpecError:
    with pytest.raises(SpecError) as caught:
        load(str(path))
    assert "\n" not in caught.value.message
    return caught.value


def test_a_file_with_one_pipeline_names_that_pipeline(tmp_path):
    path = write(tmp_path, HEAD + COMPONENT.format("step") + PIPELINE.format("train_it", "step"))
    assert load(str(path)).name == "train-it"


def test_a_file_with_one_component_and_no_pipeline_names_the_component(tmp_path):
    assert load(str(write(tmp_path, HEAD + COMPONENT.format("step")))).name == "step"


def test_a_container_component_can_be_loaded(tmp_path):
    text = (
        HEAD
        + "@dsl.container_component\ndef box():\n    return dsl.ContainerSpec(image='alpine')\n"
    )
    assert load(str(write(tmp_path, text))).name == "box"


def test_two_pipelines_must_be_chosen_between_also_when_one_contains_the_other(tmp_path):
    inner = PIPELINE.format("inner", "step")
    outer = "@dsl.pipeline\ndef outer():\n    inner()\n"
    path = write(tmp_path, HEAD + COMPONENT.format("step") + inner + outer)
    with pytest.raises(UsageError) as caught:
        load(str(path))
    assert f"{path}:inner" in caught.value.hint
    assert f"{path}:outer" in caught.value.hint
    assert load(f"{path}:outer").name == "outer"


def test_two_components_without_a_pipeline_must_be_chosen_between(tmp_path):
    path = write(tmp_path, HEAD + COMPONENT.format("a") + COMPONENT.format("b"))
    with pytest.raises(UsageError, match="2 components"):
        load(str(path))
    assert load(f"{path}:b").name == "b"


def test_imported_components_and_pipelines_do_not_compete_with_the_files_own(tmp_path):
    lib = (
        HEAD + COMPONENT.format("step") + COMPONENT.format("other") + PIPELINE.format("sub", "step")
    )
    write(tmp_path, lib, "lib.py")
    path = write(
        tmp_path,
        HEAD
        + "from lib import *\nfrom lib import sub as again\n"
        + PIPELINE.format("mine", "step"),
    )
    assert load(str(path)).name == "mine"


def test_an_imported_pipeline_is_taken_when_the_file_has_nothing_else(tmp_path):
    write(tmp_path, HEAD + COMPONENT.format("step") + PIPELINE.format("sub", "step"), "lib.py")
    assert load(str(write(tmp_path, "from lib import sub\n"))).name == "sub"


def test_a_pipeline_made_by_a_function_of_another_module_is_the_files_own(tmp_path):
    make = (
        "def make(name):\n    @dsl.pipeline(name=name)\n    def p():\n        step()\n   "
        " return p\n"
    )
    write(tmp_path, HEAD + COMPONENT.format("step") + make, "lib.py")
    path = write(tmp_path, "from lib import make, step\nchurn = make('churn')\nalias = churn\n")
    assert load(str(path)).name == "churn"


def test_a_wrong_function_name_gets_a_suggestion_and_the_choices(tmp_path):
    path = write(tmp_path, HEAD + COMPONENT.format("step") + PIPELINE.format("train", "step"))
    with pytest.raises(UsageError) as caught:
        load(f"{path}:trian")
    assert "trian" in caught.value.message
    assert f"Did you mean {path}:train?" in caught.value.hint


def test_a_plain_function_has_a_hint_to_decorate_it(tmp_path):
    path = write(tmp_path, "def train():\n    pass\n")
    error = failure(f"{path}:train")
    assert "pipe.py:1" in error.message
    assert "@dsl.pipeline" in error.hint


def test_a_file_without_pipelines_has_a_hint_what_to_decorate(tmp_path):
    assert "@dsl.pipeline" in failure(write(tmp_path, "x = 1\n")).hint


@pytest.mark.parametrize("name", ["kfp.py", "pandas.py", "json.py", "train-model v2.py", "a.b.py"])
def test_the_file_may_have_any_name(tmp_path, name):
    text = "import json\nimport pandas\npandas.DataFrame\njson.dumps\n" + HEAD
    path = write(tmp_path, text + COMPONENT.format("step") + PIPELINE.format("p", "step"), name)
    import pandas

    assert load(str(path)).name == "p"
    assert sys.modules["pandas"] is pandas


def test_an_edited_file_and_its_edited_neighbours_are_loaded_again(tmp_path):
    write(tmp_path, "NAME = 'one'\n", "names.py")
    write(tmp_path, "from names import NAME\nNAME\n", "package/inner.py")
    write(tmp_path, "", "package/__init__.py")
    text = "from package.inner import NAME\n" + HEAD + COMPONENT.format("step")
    path = write(tmp_path, text + "@dsl.pipeline(name=NAME)\ndef p():\n    step()\n")
    before = load(str(path))
    # Same length and, most likely, the same second: a cached bytecode file would not notice.
    write(tmp_path, "NAME = 'two'\n", "names.py")
    write(tmp_path, path.read_text().replace("return x", "return 7"))
    after = load(str(path))
    assert (before.name, after.name) == ("one", "two")
    assert "return 7" in str(after.pipeline_spec)
    assert not list(tmp_path.rglob("__pycache__"))


def test_the_process_is_left_as_it_was(tmp_path):
    write(tmp_path, "", "neighbour_of_a_pipeline.py")
    text = (
        "import sys, neighbour_of_a_pipeline\nsys.path.append('/nowhere')\n"
        + HEAD
        + COMPONENT.format("step")
    )
    path = write(tmp_path, text)
    load(str(path))
    before = (sys.path[:], sys.meta_path[:], set(sys.modules))
    load(str(path))
    assert (sys.path, sys.meta_path, set(sys.modules)) == before
    assert "neighbour_of_a_pipeline" not in sys.modules


def test_what_the_file_prints_goes_to_stderr_and_kfps_warnings_nowhere(tmp_path):
    text = "import warnings\nprint('from the file')\nwarnings.warn('mine', FutureWarning)\n" + HEAD
    path = write(tmp_path, text + COMPONENT.format("step"))
    code = f"from kfgcp.spec.load import load; print(load({str(path)!r}).name)"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout == "step\n"
    assert "from the file" in process.stderr
    assert "FutureWarning: mine" in process.stderr
    assert "base_image" not in process.stderr


def test_a_syntax_error_names_the_line(tmp_path):
    error = failure(write(tmp_path, "x = 1\ndef f(:\n    pass\n"))
    assert error.message.startswith(f"{tmp_path / 'pipe.py'}:2: SyntaxError")
    assert "def f(:" in error.user_traceback


def test_an_error_shows_the_users_frames_only(tmp_path):
    write(tmp_path, "def go():\n    return {}['missing']\n", "lib/deep.py")
    error = failure(write(tmp_path, "from lib.deep import go\n\ngo()\n"))
    assert error.message == f"{tmp_path / 'lib' / 'deep.py'}:2: KeyError: 'missing'."
    files = [
        line.split('"')[1]
        for line in error.user_traceback.splitlines()
        if line.startswith("  File ")
    ]
    assert files == [str(tmp_path / "pipe.py"), str(tmp_path / "lib" / "deep.py")]
    assert error.user_traceback.splitlines()[-1] == "KeyError: 'missing'"


def test_a_relative_name_is_shown_as_the_user_typed_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "1 / 0\n")
    assert failure("pipe.py").message == "pipe.py:1: ZeroDivisionError: division by zero."


def test_a_type_error_of_kfp_keeps_its_message_and_the_users_line(tmp_path):
    text = HEAD + COMPONENT.format("step") + "@dsl.pipeline\ndef p(s: str):\n    step(x=s)\n"
    error = failure(write(tmp_path, text))
    assert error.message.startswith(
        f"{tmp_path / 'pipe.py'}:{text.splitlines().index('    step(x=s)') + 1}: "
    )
    assert "NUMBER_INTEGER" in error.message
    assert "kfp/" not in error.user_traceback


def test_a_file_that_exits_is_an_error_of_the_file(tmp_path):
    error = failure(write(tmp_path, "import sys\nsys.exit(0)\n"))
    assert "pipe.py:2" in error.message
    assert "__main__" in error.hint


def test_an_interrupt_passes(tmp_path):
    path = write(tmp_path, "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load(str(path))


@pytest.mark.parametrize(
    ("line", "package"),
    [
        ("import no_such_module_here", "pip install no_such_module_here"),
        ("import no_such_module_here.deep", "pip install no_such_module_here"),
        ("from kfp import kubernetes", "pip install kfp-kubernetes"),
        ("from google.cloud import no_such", "pip install google-cloud-no-such"),
        ("import skimage.io", "pip install scikit-image"),
        ("from .neighbour import x", "without the leading dot"),
    ],
)
def test_a_missing_module_has_a_hint_how_to_install_it(tmp_path, monkeypatch, line, package):
    monkeypatch.delattr("kfp.kubernetes", raising=False)  # it is there for other tests
    monkeypatch.setattr("kfp.__path__", [])
    monkeypatch.delitem(sys.modules, "kfp.kubernetes", raising=False)
    error = failure(write(tmp_path, line + "\n"))
    assert "pipe.py:1" in error.message
    assert package in error.hint


@pytest.mark.parametrize(
    ("text", "line", "today"),
    [
        (
            "from kfp import dsl\ndef p():\n    pass\nop = dsl.ContainerOp(name='a', image='b')\n",
            4,
            "container_component",
        ),
        ("from kfp.components import func_to_container_op\n", 1, "@dsl.component"),
        (
            "import kfp\n\nop = kfp.components.create_component_from_func(print)\n",
            3,
            "@dsl.component",
        ),
        ("import kfp.dsl as d\nd.VolumeOp(name='v')\n", 2, "CreatePVC"),
        ("import kfp.dsl as d\nd.ResourceOp(\n    name='v')\n", 2, "kfp.kubernetes"),
        ("from kfp.v2.google.client import AIPlatformClient\n", 1, "kfgcp run"),
        ("from kfp import onprem\n", 1, "kfp-kubernetes"),
        ("from kfp.components import InputPath, OutputPath\n", 1, "dsl.InputPath"),
    ],
)
def test_kfp_1_code_has_a_hint_for_kfp_2(tmp_path, text, line, today):
    error = failure(write(tmp_path, text))
    assert f"pipe.py:{line}: " in error.message
    assert "KFP 1" in error.message
    assert today in error.hint


def test_methods_of_kfp_1_tasks_have_a_hint_for_kfp_2(tmp_path):
    text = (
        HEAD
        + COMPONENT.format("step")
        + "@dsl.pipeline\ndef p():\n    step().add_env_variable(1)\n"
    )
    error = failure(write(tmp_path, text))
    assert "task.add_env_variable is from KFP 1" in error.message
    assert "set_env_variable" in error.hint


def test_an_ordinary_error_in_a_file_that_mentions_kfp_1_is_not_blamed_on_it(tmp_path):
    text = "from kfp import dsl\nif False:\n    dsl.ContainerOp()\n''.no_such_method()\n"
    assert "no_such_method" in failure(write(tmp_path, text)).message


@pytest.mark.parametrize(
    "data", [b"\x00\x01\x02", b"\xff\xfe\xfa", b"# coding: nonsense\n", b"x = '\xe9'\n"]
)
def test_a_python_file_that_is_not_text_is_a_spec_error(tmp_path, data):
    path = tmp_path / "pipe.py"
    path.write_bytes(data)
    failure(path)


def test_loading_a_compiled_file_imports_neither_kfp_nor_other_heavy_modules(tmp_path):
    code = (
        "import sys; before = set(sys.modules)\n"  # .pth files make namespace packages known
        "import kfgcp.spec.load, kfgcp.spec.params\n"
        "heavy = {'kfp', 'yaml', 'pydantic', 'pandas', 'numpy', 'google', 'click', 'rich',"
        " 'difflib', 'asyncio'}\n"
        "print(sorted(heavy & (set(sys.modules) - before)))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout == "[]\n"
