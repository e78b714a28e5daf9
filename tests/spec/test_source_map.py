"""The lines of tasks, groups and components, as KFP really names them.

The programs say by hand what each line makes: `# task: PATH` for a task or a group, `# component:
NAME` for a component. KFP compiles each program, and every task of the compiled pipeline must be at
its line.
"""

import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from kfgcp.spec.graph import build
from kfgcp.spec.load import Spec, load
from kfgcp.spec.source_map import SourceMap, read_source_map
from kfgcp.spec.task_contexts import walk_tasks

WriteFiles = Callable[..., Spec]

COMPONENTS = """
from kfp import dsl


@dsl.component  # component: comp-count
def count(path: str = "") -> int:
    return 1


@dsl.component(  # component: comp-train
    base_image="python:3.12",
)
def train(rows: int = 1) -> str:
    return "model"
"""


@pytest.fixture
def write_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteFiles:
    """Writes files into the current folder, and loads the pipeline in `main.py`."""
    monkeypatch.chdir(tmp_path)

    def write_files(main: str, /, function: str = "", **others: str) -> Spec:
        for name, text in {"main": main, **others}.items():
            path = tmp_path / (name.replace("__", "/") + ".py")
            path.parent.mkdir(exist_ok=True)
            path.write_text(textwrap.dedent(text).lstrip())
        return load(f"main.py:{function}" if function else "main.py")

    return write_files


def expected_lines(kind: str) -> dict[str, str]:
    """Return what the programs in the current folder say about their lines."""
    lines: dict[str, str] = {}
    for file in sorted(Path().rglob("*.py")):
        for number, line in enumerate(file.read_text().split("\n"), start=1):
            for names in re.findall(rf"# {kind}: ([^#]+)", line):
                lines |= dict.fromkeys(names.split(), f"{file}:{number}")
    return lines


def check_lines(spec: Spec) -> SourceMap:
    """Compare all tasks and components of a pipeline with what the programs say."""
    source_map = read_source_map(spec)
    expected_tasks = expected_lines("task")
    expected_components = expected_lines("component")
    lines = {}
    expected = {}
    for context in walk_tasks(build(spec.pipeline_spec)):
        lines[context.path] = str(source_map.find_task(context.path))
        # The last part of a path is enough where it is unique.
        name = context.path if context.path in expected_tasks else context.task.key
        expected[context.path] = expected_tasks.pop(name)
        component = context.component.name
        if component in expected_components:
            line = str(source_map.find_component(component, context.path))
            assert (component, line) == (component, expected_components[component])
    assert lines == expected
    # Each line that a program names is one that KFP made.
    assert expected_tasks == {}
    return source_map


def test_tasks_are_where_they_are_called(write_files: WriteFiles) -> None:
    main = (
        COMPONENTS
        + """

@dsl.pipeline  # pipeline: itself
def churn(path: str = "p"):
    first = count(path=path)  # task: count
    train(rows=first.output)  # task: train
    train(  # task: train-2
        rows=count(  # task: count-2
            path=path,
        ).output,
    )
"""
    )
    source_map = check_lines(write_files(main))

    assert str(source_map.find_pipeline()) == expected_lines("pipeline")["itself"]


def test_a_task_is_where_its_name_is_in_a_chain(write_files: WriteFiles) -> None:
    main = (
        COMPONENTS
        + """

@dsl.pipeline
def churn():
    (
        count()  # task: count
        .set_retry(3)
        .set_display_name("rows")
    )
"""
    )
    check_lines(write_files(main))


def test_a_method_of_a_task_has_its_own_line(write_files: WriteFiles) -> None:
    main = (
        COMPONENTS
        + """

@dsl.pipeline
def churn():
    rows = count()  # task: count
    rows.set_cpu_limit("1")
    rows.set_retry(3)  # line: retry
    rows = count()  # task: count-2
    rows.set_retry(3)  # line: second-retry
    (
        train()  # task: train
        .set_caching_options(False)
        .set_memory_limit("1G")  # line: memory
    )
"""
    )
    source_map = check_lines(write_files(main))

    lines = expected_lines("line")
    assert str(source_map.find_task("count", ["set_retry"])) == lines["retry"]
    assert str(source_map.find_task("count-2", ["set_retry"])) == lines["second-retry"]
    assert str(source_map.find_task("train", ["set_memory_limit"])) == lines["memory"]
    # A method that is not called: the line of the task.
    assert str(source_map.find_task("train", ["set_retry"])) == expected_lines("task")["train"]
    # The first method that is called wins, not the first line.
    both = source_map.find_task("count", ["set_retry", "set_cpu_limit"])
    assert str(both) == lines["retry"]


def test_groups_are_where_their_with_is(write_files: WriteFiles) -> None:
    main = (
        COMPONENTS
        + """

@dsl.pipeline
def churn(names: list = ["a"]):
    with dsl.ParallelFor(names) as name:  # task: for-loop-1
        count(path=name)  # task: count
    with dsl.ExitHandler(train()):  # task: train exit-handler-2
        count()  # task: count-2
    rows = count()  # task: count-3
    with dsl.If(rows.output == 1):  # task: condition-3
        train()  # task: train-2
"""
    )
    check_lines(write_files(main))


def test_a_loop_over_items_uses_two_numbers_of_kfp(write_files: WriteFiles) -> None:
    main = (
        COMPONENTS
        + """

@dsl.pipeline
def churn():
    with dsl.ParallelFor(["a", "b"]) as name:  # task: for-loop-2
        with dsl.ParallelFor([1, 2]) as number:  # task: for-loop-4
            train(rows=number)  # task: train
    with dsl.ParallelFor([1]) as number, dsl.If(number == 1):  # task: for-loop-6 condition-7
        train(rows=number)  # task: train-2
"""
    )
    check_lines(write_files(main))


def test_branches_are_numbered_around_what_they_contain(write_files: WriteFiles) -> None:
    """KFP puts the group around the branches afterwards, and swaps two numbers."""
    main = (
        COMPONENTS
        + """

@dsl.pipeline
def churn():
    rows = count()  # task: count
    with dsl.If(rows.output == 1):  # task: condition-branches-1 condition-5
        with dsl.ParallelFor([1, 2]) as item:  # task: for-loop-3
            train(rows=item)  # task: train
        with dsl.If(rows.output == 3):  # task: condition-4
            train()  # task: train-2
    with dsl.Elif(rows.output == 2):  # task: condition-6
        train()  # task: train-3
    with dsl.Else():  # task: condition-7
        train()  # task: train-4
    with dsl.ExitHandler(count()):  # task: count-2 exit-handler-8
        train()  # task: train-5
    with dsl.If(rows.output == 9):  # task: condition-9
        train()  # task: train-6
"""
    )
    check_lines(write_files(main))


def test_branches_with_two_ends(write_files: WriteFiles) -> None:
    main = (
        COMPONENTS
        + """

@dsl.pipeline
def churn():
    rows = count()  # task: count
    with dsl.If(rows.output == 1):  # task: condition-branches-1 condition-2
        train()  # task: train
    with dsl.Else():  # task: condition-3
        with dsl.If(rows.output == 5):  # task: condition-branches-4 condition-5
            train()  # task: train-2
        with dsl.Else():  # task: condition-6
            train()  # task: train-3
    with dsl.If(rows.output == 8):  # task: condition-7
        train()  # task: train-4
"""
    )
    check_lines(write_files(main))


def test_groups_under_other_names(write_files: WriteFiles) -> None:
    main = (
        COMPONENTS
        + """
from kfp.dsl import ParallelFor as Each
import kfp


@dsl.pipeline
def churn(names: list = ["a"]):
    with Each(names) as name:  # task: for-loop-1
        count(path=name)  # task: count
    loop = kfp.dsl.ParallelFor(names)
    with loop as name:  # task: for-loop-2
        count(path=name)  # task: count-2
"""
    )
    check_lines(write_files(main))


def test_nested_pipelines_have_their_own_numbers(write_files: WriteFiles) -> None:
    main = (
        COMPONENTS
        + """

@dsl.pipeline
def make(names: list):
    with dsl.ParallelFor(names) as name:  # task: make/for-loop-1 for-loop-1/make-2/for-loop-1
        count(path=name)  # task: make/for-loop-1/count for-loop-1/make-2/for-loop-1/count
    count()  # task: make/count-2 for-loop-1/make-2/count-2


@dsl.pipeline
def churn(names: list = ["a"]):
    count()  # task: count
    make(names=names)  # task: make
    with dsl.ParallelFor(names) as name:  # task: for-loop-1
        make(names=names)  # task: make-2
        train()  # task: train
"""
    )
    check_lines(write_files(main, function="churn"))


def test_a_pipeline_in_a_function(write_files: WriteFiles) -> None:
    main = (
        COMPONENTS
        + """

def build(size):
    @dsl.pipeline(name=f"churn-{size}")  # pipeline: itself
    def churn():
        train()  # task: train

    return churn


small = build("small")
"""
    )
    source_map = check_lines(write_files(main))

    assert str(source_map.find_pipeline()) == expected_lines("pipeline")["itself"]


def test_a_helper_that_makes_tasks(write_files: WriteFiles) -> None:
    main = (
        COMPONENTS
        + """

def add_report(rows):
    train(rows=rows)  # task: train-2
    with dsl.If(rows == 2):  # task: condition-1
        train()  # task: train-3


@dsl.pipeline
def churn():
    rows = count()  # task: count
    train()  # task: train
    add_report(rows.output)
    train()  # task: train-4
"""
    )
    check_lines(write_files(main))


def test_loops_of_python_are_repeated_as_often_as_they_run(write_files: WriteFiles) -> None:
    main = (
        COMPONENTS
        + """

@dsl.pipeline
def churn():
    for number in range(2):
        train(rows=number)  # task: train train-2
        for path in ("a", "b"):
            count(path=path)  # task: count count-2 count-3 count-4
    train()  # task: train-3
    [count(path=path) for path in ["c", "d"]]  # task: count-5 count-6
    count()  # task: count-7
"""
    )
    check_lines(write_files(main))


def test_a_loop_of_unknown_length_stands_for_all_its_tasks(write_files: WriteFiles) -> None:
    main = (
        COMPONENTS
        + """
SIZES = {"a": 1, "b": 2, "c": 3}


@dsl.pipeline
def churn():
    for size in SIZES.values():
        train(rows=size)  # task: train train-2 train-3
"""
    )
    check_lines(write_files(main))


def test_groups_in_a_loop_of_unknown_length(write_files: WriteFiles) -> None:
    """All groups come from the same `with`."""
    main = (
        COMPONENTS
        + """
SIZES = {"a": 1, "b": 2}


@dsl.pipeline
def churn(names: list = ["a"]):
    for size in SIZES.values():
        with dsl.ParallelFor(names) as name:  # task: for-loop-1 for-loop-2
            count(path=name)  # task: count count-2
"""
    )
    check_lines(write_files(main))


def test_a_group_that_may_be_any_of_several_has_the_line_around_it(
    write_files: WriteFiles,
) -> None:
    main = (
        COMPONENTS
        + """
SIZES = {"a": 1, "b": 2}


@dsl.pipeline
def churn(names: list = ["a"]):
    for size in SIZES.values():
        with dsl.ParallelFor(names) as name:
            count(path=name)
    with dsl.ParallelFor(names) as name:
        count(path=name)
"""
    )
    source_map = read_source_map(write_files(main))

    assert source_map.find_task("for-loop-3") is None


def test_a_function_with_the_number_of_another_task(write_files: WriteFiles) -> None:
    main = (
        COMPONENTS
        + """

@dsl.component  # component: comp-train-2
def train_2():
    pass


@dsl.pipeline
def churn():
    train()  # task: train
    train_2()  # task: train-2
    train()  # task: train-3
"""
    )
    check_lines(write_files(main))


def test_a_component_with_the_name_of_a_group(write_files: WriteFiles) -> None:
    main = (
        COMPONENTS
        + """

@dsl.component  # component: comp-for-loop
def for_loop(name: str):
    pass


@dsl.pipeline
def churn(names: list = ["a"]):
    for_loop(name="a")  # task: for-loop
    with dsl.ParallelFor(names) as name:  # task: for-loop-1
        for_loop(name=name)  # task: for-loop-2
"""
    )
    check_lines(write_files(main))


def test_container_components(write_files: WriteFiles) -> None:
    main = """
from kfp import dsl


@dsl.container_component  # component: comp-say
def say(word: str):
    return dsl.ContainerSpec(image="alpine", command=["echo", word])


@dsl.pipeline
def churn():
    say(word="a")  # task: say
    dsl.importer(artifact_uri="gs://b/d", artifact_class=dsl.Dataset)  # task: importer
"""
    check_lines(write_files(main))


def test_decorators_under_other_names(write_files: WriteFiles) -> None:
    main = """
import functools

from kfp import dsl
from kfp.dsl import component as step
from kfp.dsl import pipeline

pinned = functools.partial(dsl.component, base_image="python:3.12")


@step  # component: comp-count
def count():
    pass


@pinned()  # component: comp-train
def train():
    pass


def plain():
    pass


other = dsl.component(plain)  # component: comp-plain


@pipeline()  # pipeline: itself
def churn():
    count()  # task: count
    train()  # task: train
    other()  # task: plain
"""
    source_map = check_lines(write_files(main))

    assert str(source_map.find_pipeline()) == expected_lines("pipeline")["itself"]


def test_a_component_that_is_compiled_alone(write_files: WriteFiles) -> None:
    main = """
from kfp import dsl


@dsl.component  # component: comp-count # pipeline: itself
def count():
    pass
"""
    spec = write_files(main)
    source_map = read_source_map(spec)

    assert str(source_map.find_pipeline()) == "main.py:4"
    assert str(source_map.find_component("comp-count", "count")) == "main.py:4"
