"""Source maps of pipelines in several files, and of files that are hard to read."""

import random
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from kfgcp.spec.load import Spec, from_documents, load
from kfgcp.spec.source_map import SourceMap, read_source_map
from kfgcp.spec.write import write

WriteFile = Callable[[str, str], None]

COMPONENT = """\
from kfp import dsl


@dsl.component
def train(rows: int = 1):
    pass
"""


EDITED = (
    COMPONENT
    + """
import parts.steps as steps
from parts import *
other = load_component_from_file("other.yaml")
def helper(a):  # kfgcp: R101 because of this
    return train(rows=a).set_retry(3)
@dsl.pipeline(name="churn", description=)
def churn(names: list):
    # kfgcp: K101, V203 because of that
    first = train(rows=1)
    first.set_retry(3)
    for i in range(3):
        with dsl.ParallelFor(names) as name, dsl.If(name == "a"):
            helper(a=[train(rows=x) for x in (1, 2)])
    with dsl.If(first.output == 1):
        train()
    with dsl.Elif(first.output == 2):
        steps.train(rows=other().output)
    with dsl.Else():
        train()
"""
)


@pytest.fixture
def write_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteFile:
    """Writes a file into the current folder."""
    monkeypatch.chdir(tmp_path)

    def write_file(name: str, text: str) -> None:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)

    return write_file


def map_of(name: str) -> SourceMap:
    return read_source_map(load(name))


def spec_of(file: str, content: bytes) -> Spec:
    """Return a pipeline with one task `train`, as if it had been compiled from a file."""
    Path(file).write_bytes(content)
    document = {
        "schemaVersion": "2.1.0",
        "pipelineInfo": {"name": "churn"},
        "root": {"dag": {"tasks": {"train": {"componentRef": {"name": "comp-train"}}}}},
        "components": {"comp-train": {"executorLabel": "exec-train"}},
        "deploymentSpec": {"executors": {"exec-train": {"container": {"image": "python:3.12"}}}},
    }
    spec = from_documents([document], file)
    object.__setattr__(spec, "files", {str(Path(file).absolute()): ""})
    return spec


def test_components_of_other_files(write_file: WriteFile) -> None:
    write_file("steps/__init__.py", "")
    write_file("steps/first.py", COMPONENT)
    write_file("steps/second.py", "# The same name.\n\n" + COMPONENT)
    write_file(
        "main.py",
        "from kfp import dsl\n"
        "from steps import first\n"
        "import steps.second as other\n"
        "from steps.second import train as again\n"
        "@dsl.pipeline\n"
        "def churn():\n"
        "    first.train(rows=1)\n"
        "    other.train(rows=2)\n"
        "    again(rows=3)\n",
    )
    source_map = map_of("main.py")

    assert str(source_map.find_task("train")) == "main.py:7"
    assert str(source_map.find_task("train-2")) == "main.py:8"
    assert str(source_map.find_task("train-3")) == "main.py:9"
    assert str(source_map.find_component("comp-train", "train")) == "steps/first.py:4"
    assert str(source_map.find_component("comp-train-2", "train-2")) == "steps/second.py:6"
    assert str(source_map.find_component("comp-train-3", "train-3")) == "steps/second.py:6"


def test_a_component_that_a_package_exports(write_file: WriteFile) -> None:
    write_file("exported/__init__.py", "from exported.inner import train as fit\n")
    write_file("exported/inner.py", COMPONENT)
    write_file(
        "main.py",
        "from kfp import dsl\n"
        "import exported\n"
        "from exported.inner import *\n"
        "@dsl.pipeline\n"
        "def churn():\n"
        "    exported.fit()\n"
        "    train()\n",
    )
    source_map = map_of("main.py")

    assert str(source_map.find_task("train")) == "main.py:6"
    assert str(source_map.find_task("train-2")) == "main.py:7"
    assert str(source_map.find_component("comp-train", "train")) == "exported/inner.py:4"
    assert str(source_map.find_component("comp-train", "train-2")) == "exported/inner.py:4"


def test_a_pipeline_of_another_file(write_file: WriteFile) -> None:
    write_file(
        "inner_part.py",
        COMPONENT + "\n\n@dsl.pipeline\ndef inner():\n    train()\n",
    )
    write_file(
        "main.py",
        "from kfp import dsl\n"
        "from inner_part import inner\n"
        "@dsl.pipeline\n"
        "def churn():\n"
        "    inner()\n",
    )
    source_map = map_of("main.py")

    assert str(source_map.find_pipeline()) == "main.py:3"
    assert str(source_map.find_task("inner")) == "main.py:5"
    assert str(source_map.find_task("inner/train")) == "inner_part.py:11"
    assert str(source_map.find_component("comp-inner", "inner")) == "inner_part.py:9"


def test_components_in_yaml(write_file: WriteFile) -> None:
    component = textwrap.dedent(
        """\
        # A component of KFP 1.
        name: Train it
        implementation:
          container:
            image: python:3.12
            command: [python, -c, pass]
        """
    )
    write_file("parts/train.yaml", component)
    write_file(
        "main.py",
        "from pathlib import Path\n"
        "from kfp import components, dsl\n"
        "from kfp.components import load_component_from_file\n"
        "fit = components.load_component_from_file('parts/train.yaml')\n"
        "here = load_component_from_file(str(Path(__file__).parent / 'parts' / 'train.yaml'))\n"
        "text = components.load_component_from_text('''\n"
        "name: From text\n"
        "implementation: {container: {image: a, command: [b]}}\n"
        "''')\n"
        "@dsl.pipeline\n"
        "def churn():\n"
        "    fit()\n"
        "    here()\n"
        "    text()\n",
    )
    source_map = map_of("main.py")

    assert str(source_map.find_task("train-it")) == "main.py:12"
    assert str(source_map.find_task("from-text")) == "main.py:14"
    assert str(source_map.find_component("comp-train-it", "train-it")) == "parts/train.yaml:2"
    assert str(source_map.find_component("comp-from-text", "from-text")) == "main.py:6"


LOADED = """\
from kfp import components, dsl
first = components.load_component_from_url("https://example.com/train.yaml")
{second}
@dsl.pipeline
def churn():
    print()
    first(rows=1)
    {call}
    first(rows=2)
"""


def test_the_only_component_of_an_address(write_file: WriteFile) -> None:
    """Its name is not in the file, but nothing else can have made the task."""
    program = LOADED.format(second="", call="")
    source_map = read_source_map(spec_of("main.py", program.encode()))

    assert str(source_map.find_task("train")) == "main.py:7"
    assert str(source_map.find_task("train-2")) == "main.py:9"
    assert str(source_map.find_component("comp-train", "train")) == "main.py:2"
    assert source_map.find_task("train-3") is None


def test_one_of_two_components_of_an_address(write_file: WriteFile) -> None:
    second = "second = components.load_component_from_file('missing.yaml')"
    program = LOADED.format(second=second, call="second()")
    source_map = read_source_map(spec_of("main.py", program.encode()))

    assert source_map.find_task("train") is None


def test_tasks_of_a_compiled_pipeline_in_a_pipeline_have_the_line_of_its_call(
    write_file: WriteFile,
) -> None:
    write_file("inner_part.py", COMPONENT + "\n\n@dsl.pipeline\ndef inner():\n    train()\n")
    write(load("inner_part.py"), Path("inner.yaml"))
    write_file(
        "main.py",
        "from kfp import components, dsl\n"
        "inner = components.load_component_from_file('inner.yaml')\n"
        "@dsl.pipeline\n"
        "def churn():\n"
        "    inner()\n",
    )
    source_map = map_of("main.py")

    assert str(source_map.find_task("inner")) == "main.py:5"
    assert str(source_map.find_task("inner/train")) == "main.py:5"


def test_a_function_of_a_program(write_file: WriteFile) -> None:
    """A pipeline that is given as an object has no files, but its function knows its file."""
    write_file("program.py", COMPONENT + "\n\n@dsl.pipeline\ndef churn():\n    train()\n")
    import importlib.util

    module_spec = importlib.util.spec_from_file_location("program", "program.py")
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)

    source_map = read_source_map(load(module.churn))

    assert str(source_map.find_task("train")) == "program.py:11"


HOSTILE = {
    "a syntax error": b"def churn(:\n",
    "a NUL": b"\0",
    "not its encoding": b"# coding: ascii\nname = '\xe9'\n",
    "an unknown encoding": b"# coding: klingon\n",
    "deep brackets": b"a = " + b"(" * 100_000,
    "deep operators": b"a = " + b"-" * 100_000 + b"1",
    "nothing": b"",
    "5 MB": b"a = 1\n" * 900_000,
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_file_that_cannot_be_parsed_has_no_lines(write_file: WriteFile, content: bytes) -> None:
    source_map = read_source_map(spec_of("main.py", content))

    assert source_map.find_pipeline() is None
    assert source_map.find_task("train") is None
    assert source_map.find_component("comp-train", "train") is None
    assert source_map.comments == []


def test_a_file_that_is_gone_has_no_lines(write_file: WriteFile) -> None:
    spec = spec_of("main.py", b"")
    Path("main.py").unlink()

    assert read_source_map(spec).find_task("train") is None


PROGRAM = COMPONENT + "\n\n@dsl.pipeline\ndef churn():\n    train()"
FORMS = {
    "no line end": PROGRAM.encode(),
    "CRLF": PROGRAM.replace("\n", "\r\n").encode(),
    "tabs": PROGRAM.replace("    ", "\t").encode(),
    "byte order mark": b"\xef\xbb\xbf" + PROGRAM.encode(),
    "Latin-1": f"# coding: latin-1\n{PROGRAM}  # \xe9".encode("latin-1"),
    "form feed": PROGRAM.replace("\n\n\n@dsl.pipeline", "\n\n\x0c\n@dsl.pipeline").encode(),
    "line separator": PROGRAM.replace("pass", "'a\u2028b\x1cc'").encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_lines_are_counted_as_python_counts_them(write_file: WriteFile, form: str) -> None:
    source_map = read_source_map(spec_of("main.py", FORMS[form]))

    # The first line of the file in Latin-1 is its encoding.
    offset = 1 if form == "Latin-1" else 0
    assert str(source_map.find_component("comp-train")) == f"main.py:{4 + offset}"
    assert str(source_map.find_pipeline()) == f"main.py:{9 + offset}"
    assert str(source_map.find_task("train")) == f"main.py:{11 + offset}"


def test_a_function_that_calls_itself(write_file: WriteFile) -> None:
    program = (
        f"{COMPONENT}\n"
        "def again(n):\n"
        "    train()\n"
        "    if n:\n"
        "        again(n - 1)\n"
        "@dsl.pipeline\n"
        "def churn():\n"
        "    again(3)\n"
    )
    source_map = read_source_map(spec_of("main.py", program.encode()))

    assert str(source_map.find_task("train-3")) == "main.py:9"


def test_names_that_lead_in_a_circle(write_file: WriteFile) -> None:
    program = (
        "from kfp import dsl\n"
        "first = second\n"
        "second = first\n"
        "@dsl.pipeline\n"
        "def churn():\n"
        "    first()\n"
        "    train()\n"
    )
    source_map = read_source_map(spec_of("main.py", program.encode()))

    assert str(source_map.find_task("train")) == "main.py:7"


def test_a_loop_of_a_billion_turns(write_file: WriteFile) -> None:
    program = (
        "from kfp import dsl\n"
        "@dsl.pipeline\n"
        "def churn():\n"
        "    for i in range(10**9):\n"
        "        for j in range(1000000000):\n"
        "            for k in range(1000000000):\n"
        "                train()\n"
    )
    source_map = read_source_map(spec_of("main.py", program.encode()))

    assert str(source_map.find_task("train-2")) == "main.py:7"


def test_async_code(write_file: WriteFile) -> None:
    program = (
        "from kfp import dsl\n"
        "@dsl.component\n"
        "async def train():\n"
        "    async with lock:\n"
        "        await work()\n"
        "@dsl.pipeline\n"
        "async def churn():\n"
        "    async for i in range(2):\n"
        "        async with dsl.ParallelFor(i):\n"
        "            train()\n"
    )
    source_map = read_source_map(spec_of("main.py", program.encode()))

    assert str(source_map.find_component("comp-train")) == "main.py:2"
    assert str(source_map.find_task("train")) == "main.py:10"


def test_hundreds_of_branches(write_file: WriteFile) -> None:
    branches = "".join(f"    elif a == {number}:\n        train()\n" for number in range(300))
    program = f"{COMPONENT}@dsl.pipeline\ndef churn(a):\n    if a:\n        train()\n{branches}"
    source_map = read_source_map(spec_of("main.py", program.encode()))

    # The first call is in line 10. The other 300 follow, each in the second line after another.
    assert str(source_map.find_task("train-301")) == "main.py:610"


def test_a_file_without_comments_is_not_parsed(write_file: WriteFile) -> None:
    source_map = read_source_map(spec_of("main.py", PROGRAM.encode()))
    Path("main.py").write_text(PROGRAM)

    assert source_map.comments == []
    # The file is read at the first question, so a change before that still counts.
    Path("main.py").write_text("\n\n" + PROGRAM)
    assert str(source_map.find_task("train")) == "main.py:13"


@pytest.mark.parametrize("seed", range(20))
def test_random_edits_end_no_question_with_an_error(write_file: WriteFile, seed: int) -> None:
    generator = random.Random(seed)  # noqa: S311
    program = EDITED.encode()
    snippets = [
        b"(",
        b")",
        b":",
        b"\n",
        b"    ",
        b"*",
        b"train",
        b"with ",
        b"\xff",
        b'"""',
        b"#",
        b".",
    ]
    for _ in range(20):
        content = bytearray(program)
        for _ in range(generator.randint(1, 4)):
            start = generator.randrange(len(content))
            end = start + generator.choice([0, 0, 1, 5, 40])
            content[start:end] = generator.choice(snippets)
        source_map = read_source_map(spec_of("main.py", bytes(content)))

        lines = content.count(b"\n") + 1
        for location in (
            source_map.find_pipeline(),
            source_map.find_task("train"),
            source_map.find_task("for-loop-2/train-3", ["set_retry"]),
            source_map.find_task("condition-branches-3/condition-4/train"),
            source_map.find_component("comp-train-2", "train-2"),
        ):
            assert location is None or 1 <= location.line <= lines
        for comment in source_map.comments:
            assert 1 <= comment.location.line <= lines
