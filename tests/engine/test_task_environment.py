"""The process of a task: folders, environment, output, and how it ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from kfp import dsl

IMAGE = "python:3.11"


@dsl.component(base_image=IMAGE)
def surroundings(x: int) -> str:
    import json
    import os
    import tempfile

    with open("relative.txt", "w") as file:
        file.write("mine")
    with tempfile.NamedTemporaryFile(delete=False) as file:
        temporary = file.name
    return json.dumps(
        {
            "cwd": os.getcwd(),
            "pwd": os.environ["PWD"],
            "files": os.listdir("."),
            "tmpdir": os.environ["TMPDIR"],
            "gettempdir": tempfile.gettempdir(),
            "temporary": temporary,
            "env": dict(os.environ),
        }
    )


@dsl.component(base_image=IMAGE)
def ends(how: str) -> int:
    import os
    import signal
    import sys
    import threading
    import time

    print(f"before {how}")
    if how == "os._exit(3)":
        os._exit(3)
    elif how == "sys.exit(4)":
        sys.exit(4)
    elif how == "sys.exit(0)":
        sys.exit(0)
    elif how == "text":
        sys.exit("the reason")
    elif how == "SIGSEGV":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif how == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "os._exit(0)":
        os._exit(0)
    elif how == "raise":
        raise RuntimeError("it's {broken}\nsecond line")
    elif how == "KeyboardInterrupt":
        raise KeyboardInterrupt
    elif how == "thread":
        threading.Thread(target=lambda: (time.sleep(0.2), print("the thread is done"))).start()
    elif how == "daemon thread":
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    elif how == "error in a thread":
        threading.Thread(target=lambda: 1 / 0).start()
    return 1


@dsl.pipeline(name="ending")
def ending(how: str):
    ends(how=how)


@pytest.mark.rule(
    "Running a task: a task has its own working folder, temporary folder and environment"
)
def test_folders(execute, written, home):
    @dsl.pipeline(name="folders")
    def folders():
        surroundings(x=1).set_env_variable("MINE", "it's {{$}}\n=x")
        surroundings(x=2)

    before = set(home.rglob("*"))
    run = execute(folders)
    one, two = written(run, "surroundings"), written(run, "surroundings-2")

    assert one["cwd"] != two["cwd"]
    assert one["tmpdir"] != two["tmpdir"]
    for environment in (one, two):
        assert [name for name in environment["files"] if not name.startswith(".")] == [
            "relative.txt"
        ]
        assert environment["pwd"] == environment["cwd"]
        assert environment["gettempdir"] == environment["tmpdir"]
        assert environment["temporary"].startswith(environment["tmpdir"] + "/")
        assert not Path(environment["cwd"]).exists()
        assert not Path(environment["tmpdir"]).exists()
    assert one["env"]["MINE"] == "it's {{$}}\n=x"
    assert "MINE" not in two["env"]
    assert one["env"]["KFGCP_TASK"] == "surroundings"
    assert two["env"]["KFGCP_TASK"] == "surroundings-2"
    assert one["env"]["KFGCP_RUN_ID"] == run.run_id
    assert one["env"]["KFGCP_SUBMIT_DIR"] == str(home)
    assert {path for path in set(home.rglob("*")) - before if ".kfgcp" not in path.parts} == set()


@pytest.mark.rule(
    "Running a task: a task has its own working folder, temporary folder and environment"
)
def test_the_users_environment_reaches_the_task_and_comes_back_unchanged(
    execute, written, monkeypatch
):
    @dsl.pipeline(name="env")
    def pipeline():
        surroundings(x=1).set_env_variable("HOME", "/nowhere")

    monkeypatch.setenv("OF_THE_USER", "yes")
    before = dict(os.environ)
    run = execute(pipeline)

    assert written(run, "surroundings")["env"]["OF_THE_USER"] == "yes"
    assert written(run, "surroundings")["env"]["HOME"] == "/nowhere"
    assert dict(os.environ) == before


@pytest.mark.rule(
    "Running a task: variables that an interpreter or a library reads at its start have their"
    " effect"
)
def test_variables_that_are_read_at_start(execute, task):
    @dsl.component(base_image=IMAGE)
    def hashes(x: str) -> int:
        return hash(x)

    @dsl.pipeline(name="hashes")
    def pipeline():
        hashes(x="a").set_env_variable("PYTHONHASHSEED", "1").set_caching_options(False)
        hashes(x="a").set_env_variable("PYTHONHASHSEED", "2").set_caching_options(False)

    run = execute(pipeline)

    for path, seed in (("hashes", "1"), ("hashes-2", "2")):
        fresh = subprocess.check_output(
            [sys.executable, "-c", "print(hash('a'))"], env=os.environ | {"PYTHONHASHSEED": seed}
        )
        assert task(run, path).outputs == {"Output": int(fresh)}


@pytest.mark.rule("Running a task: the exit status comes from the process itself")
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("os._exit(3)", "exited with code 3"),
        ("sys.exit(4)", "exited with code 4"),
        ("text", ""),
        ("SIGSEGV", "SIGSEGV"),
        ("SIGKILL", "SIGKILL"),
        ("os._exit(0)", "output 'Output' is missing"),
        ("sys.exit(0)", "output 'Output' is missing"),
        ("raise", ""),
        ("KeyboardInterrupt", "KeyboardInterrupt"),
    ],
)
def test_bad_ends(how, message, execute, task, log):
    run = execute(ending, {"how": how})

    assert run.state == "FAILED"
    assert message in task(run, "ends").error.message
    assert "\n" not in task(run, "ends").error.message
    assert log(run, "ends")[0] == f"before {how}"
    if how == "text":
        assert "the reason" in log(run, "ends")


@pytest.mark.rule("Running a task: the exit status comes from the process itself")
@pytest.mark.parametrize("how", ["thread", "daemon thread", "error in a thread"])
def test_threads_that_are_left(how, execute, task, log):
    run = execute(ending, {"how": how})

    assert run.state == "SUCCEEDED"
    assert task(run, "ends").outputs == {"Output": 1}
    if how == "thread":
        assert "the thread is done" in log(run, "ends")


@pytest.mark.rule("Running a task: the exit status comes from the process itself")
def test_processes_that_are_left_are_killed(execute, task, alive, eventually):
    @dsl.component(base_image=IMAGE)
    def leaves() -> int:
        import subprocess

        return subprocess.Popen(["sleep", "300"]).pid

    @dsl.pipeline(name="leaves")
    def pipeline():
        leaves()

    run = execute(pipeline)

    assert run.state == "SUCCEEDED"
    eventually(lambda: not alive(task(run, "leaves").outputs["Output"]))


@pytest.mark.rule("Running a task: stdout and stderr are kept per attempt, in order")
def test_output_in_order(execute, log):
    @dsl.component(base_image=IMAGE)
    def talks():
        import os
        import subprocess
        import sys

        print("1 out")
        print("2 err", file=sys.stderr)
        sys.stdout.write("3 no newline, ")
        sys.stdout.flush()
        sys.stderr.write("4 err\n")
        subprocess.run(["sh", "-c", "echo 5 child; echo 6 child err >&2"], check=True)
        os.write(1, b"7 raw \xff\n")
        print("8 Gr\u00fc\u00dfe \ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"))
        print("9 x" * 100_000)

    @dsl.pipeline(name="talks")
    def pipeline():
        talks()

    run = execute(pipeline)

    assert log(run, "talks")[:7] == [
        "1 out",
        "2 err",
        "3 no newline, 4 err",
        "5 child",
        "6 child err",
        "7 raw \ufffd",
        "8 Grüße 😀",
    ]
    assert log(run, "talks")[7] == "9 x" * 100_000


@pytest.mark.rule(
    "Running a task: a task has its own working folder, temporary folder and environment"
)
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(method, execute, task):
    @dsl.component(base_image=IMAGE)
    def uses(method: str) -> int:
        import multiprocessing

        with multiprocessing.get_context(method).Pool(2) as pool:
            return sum(pool.map(abs, range(-10, 0)))

    @dsl.pipeline(name="uses")
    def pipeline(method: str):
        uses(method=method)

    assert task(execute(pipeline, {"method": method}), "uses").outputs == {"Output": 55}


@pytest.mark.rule(
    "Running a task: a task has its own working folder, temporary folder and environment"
)
def test_tasks_do_not_share_random_numbers_or_modules(execute, task):
    @dsl.component(base_image=IMAGE)
    def draws(x: int) -> str:
        import json
        import random
        import sys
        import uuid

        random.kfgcp_mark = getattr(random, "kfgcp_mark", 0) + 1
        sys.modules["kfgcp_left_behind"] = random
        return json.dumps([random.random(), str(uuid.uuid4()), random.kfgcp_mark])  # noqa: S311

    @dsl.pipeline(name="draws")
    def pipeline():
        with dsl.ParallelFor([1, 2, 3, 4]) as item:
            draws(x=item)

    run = execute(pipeline)
    drawn_numbers = [json.loads(t.outputs["Output"]) for t in run.tasks if t.path.endswith("draws")]

    assert len({one[0] for one in drawn_numbers}) == 4
    assert len({one[1] for one in drawn_numbers}) == 4
    assert [one[2] for one in drawn_numbers] == [1, 1, 1, 1]


@pytest.mark.rule(
    "Running a task: env is honoured; cpu, memory and accelerator settings are recorded"
)
def test_resources_do_not_hinder(execute, states):
    @dsl.pipeline(name="resources")
    def pipeline():
        surroundings(x=1).set_cpu_limit("1").set_memory_limit("1G").set_cpu_request("500m")

    assert states(execute(pipeline)) == {"surroundings": "SUCCEEDED"}


@pytest.mark.rule(
    "Running a task: nothing is installed, and a folder that the user gave is never deleted"
)
def test_a_folder_of_the_user_stays(execute, tmp_path, home):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "file").write_text("mine")

    @dsl.component(base_image=IMAGE)
    def uses(data: dsl.Input[dsl.Artifact]) -> int:
        import os

        return len(os.listdir(data.path))

    @dsl.pipeline(name="mine")
    def pipeline(folder: str):
        importer = dsl.importer(artifact_uri=folder, artifact_class=dsl.Artifact)
        uses(data=importer.output)

    run = execute(pipeline, {"folder": str(folder)})

    assert run.state == "SUCCEEDED"
    assert (folder / "file").read_text() == "mine"


@pytest.mark.rule(
    "Control flow: deterministic: the same spec, inputs and seed give the same states and outputs"
)
def test_the_same_whatever_the_parallelism(execute, states, task):
    @dsl.component(base_image=IMAGE)
    def mixes(x: int) -> str:
        import json

        return json.dumps(sorted({str(x), "a", "b"}))

    @dsl.pipeline(name="same")
    def pipeline():
        with dsl.ParallelFor([1, 2, 3]) as item:
            mixes(x=item)
        with dsl.ParallelFor([1, 2, 3], parallelism=1) as item:
            mixes(x=item)

    runs = [execute(pipeline, max_parallel=n, cache=False) for n in (1, 2, 8)]

    assert states(runs[0]) == states(runs[1]) == states(runs[2])
    outputs = [{t.path: dict(t.outputs) for t in run.tasks} for run in runs]
    assert outputs[0] == outputs[1] == outputs[2]


@dsl.component(base_image="python:3.11")
def raises(kind: str):
    import json

    if kind == "lines":
        raise ValueError("Input X contains NaN.\n\nSee the guide for what to do.")
    if kind == "json":
        json.loads("{")
    if kind == "exit":
        raise SystemExit("no data today")
    raise KeyError


@dsl.pipeline(name="raises")
def raising(kind: str):
    raises(kind=kind)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("lines", "ValueError: Input X contains NaN."),
        (
            "json",
            (
                "json.decoder.JSONDecodeError: Expecting property name enclosed in double quotes:"
                " line 1 column 2 (char 1)"
            ),
        ),
        ("exit", "no data today"),
        ("empty", "KeyError"),
    ],
)
@pytest.mark.rule("Running a task: an error names the exception and the first line of what it says")
def test_an_error_names_the_exception_and_its_first_line(execute, kind, message):
    assert execute(raising, params={"kind": kind}).error.message == message
