"""What the terminal shows: colours only where they are wanted, texts of runs as texts, and the live
table."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from kfgcp.cli import output
from kfgcp.cli.live import LiveView
from kfgcp.engine.layout import log_file
from kfgcp.model import ErrorInfo, Metric, Run, RunState, Task, TaskKind, TaskState
from kfgcp.store.store import Store
from kfgcp_command import Command
from patience import PROCESS

MakeRun = Callable[..., Run]
HOSTILE = "\x1b[31m[red]x[/red]\x1b]0;title\x07 \u202eabc\u2066 :smile: a\rb\nc\x9b2J"
SHOWN = r"\x1b[31m[red]x[/red]\x1b]0;title\x07 \u202eabc\u2066 :smile: a\rb\nc\x9b2J"
COLOUR = re.compile(r"\x1b\[[\d;]*\b(?:3[0-8]|4[0-8]|9[0-7])[\d;]*m")


@pytest.fixture
def terminal(
    kfgcp: Command, home: Path, environment: Callable[..., dict[str, str]]
) -> Callable[..., tuple[int, str]]:
    """Runs `kfgcp` in a pseudo terminal of 100 columns; its exit code and all that it wrote."""
    command = Path(sys.executable).with_name("kfgcp")

    def run(*arguments: str | Path, **environ: str) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        process = subprocess.Popen(
            [str(command), *map(str, arguments)],
            env=environment({"TERM": "xterm-256color", **environ}),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        written = b""
        try:
            while data := os.read(ours, 65536):
                written += data
        except OSError:  # Linux says so when the other side is closed
            pass
        os.close(ours)
        return process.wait(timeout=PROCESS), written.decode()

    return run


def screen(written: str) -> list[str]:
    """The lines that a terminal shows in the end, without colours."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[[\d;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", written):
        if part == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif part == "\r":
            column = 0
        elif re.fullmatch(r"\x1b\[\d*A", part):
            row = max(row - int(part[2:-1] or 1), 0)
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part[0] != "\x1b":
            lines[row] = part if column == 0 else lines[row] + part
            column = len(lines[row])
    return [line.rstrip() for line in lines]


def test_the_live_table_ends_with_each_task_and_its_state(
    terminal: Callable[..., tuple[int, str]], pipeline: Callable[[str], Path]
) -> None:
    code, written = terminal("run", pipeline("one_fails"))

    lines = screen(written)
    rows = [line.split() for line in lines]
    assert code == 6
    for expected_line in (
        ["✓", "fine", "SUCCEEDED"],
        ["✗", "boom", "FAILED"],
        ["✓", "below-2", "SUCCEEDED"],
    ):
        assert [row[:3] for row in rows].count(expected_line) == 1, "\n".join(lines)
    assert ["-", "below", "SKIPPED"] in [row[:3] for row in rows]
    assert [row for row in rows if row[:2] == ["FAILED", "one-fails"]] != []
    assert "boom │ about to fail" in lines
    assert any(line == "failed in task boom: ValueError: no luck with 7" for line in lines)
    assert COLOUR.search(written)
    assert (
        written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1
    )  # the cursor is there again


def test_a_note_stands_above_the_live_table(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    view = LiveView(make_run(state=RunState.RUNNING))
    view.begin()
    output.note("the backend is away [bold]")
    view.end()

    shown = [line for line in capsys.readouterr().err.splitlines() if line]
    assert shown[0] == "note: the backend is away [bold]"
    assert shown[1].startswith("RUNNING  train")
    output.note("later")
    assert capsys.readouterr().err == "note: later\n"


def test_the_live_table_of_a_run_that_succeeds_stands_above_its_results(
    terminal: Callable[..., tuple[int, str]], pipeline: Callable[[str], Path]
) -> None:
    code, written = terminal("run", pipeline("chain"))

    rows = [line.split()[:3] for line in screen(written)]
    tasks = [
        ["✓", path, "SUCCEEDED"] for path in ("add", "inner", "inner/double", "inner/add", "add-2")
    ]
    assert code == 0
    assert [row for row in rows if row in tasks] == tasks
    assert rows.index(["Output", "17"]) > rows.index(tasks[-1])


def test_no_color_is_kept_to_in_a_terminal(
    terminal: Callable[..., tuple[int, str]], pipeline: Callable[[str], Path]
) -> None:
    for arguments in (
        ["run", pipeline("one_fails")],
        ["list"],
        ["show"],
        ["compare", "latest", "latest"],
        ["nonsense"],
    ):
        _, written = terminal(*arguments, NO_COLOR="1")
        assert written
        assert not COLOUR.search(written), arguments
    assert COLOUR.search(terminal("list")[1])
    assert COLOUR.search(terminal("show", "zzzz")[1])


def test_a_dumb_terminal_gets_plain_lines(
    terminal: Callable[..., tuple[int, str]], pipeline: Callable[[str], Path]
) -> None:
    code, written = terminal("run", pipeline("echo"), TERM="dumb")

    assert code == 0
    assert "\x1b" not in written
    assert "say  RUNNING" in written.splitlines()


@pytest.fixture
def hostile(store: Store, make_run: MakeRun) -> Run:
    """A run all of whose texts try to be more than text."""
    run = make_run(
        name=HOSTILE,
        state=RunState.FAILED,
        experiment=HOSTILE,
        pipeline=HOSTILE,
        labels={HOSTILE: HOSTILE},
        params={HOSTILE: HOSTILE, "nested": {HOSTILE: [HOSTILE]}},
        outputs={HOSTILE: HOSTILE},
        metrics=(Metric(HOSTILE, HOSTILE, HOSTILE, 1.0),),
        tasks=(Task(HOSTILE, TaskKind.CONTAINER, TaskState.FAILED),),
        error=ErrorInfo(HOSTILE, HOSTILE, (HOSTILE,)),
    )
    store.add_run(run)
    store.add_run(make_run("bbbb"))
    return run


DANGEROUS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize(
    "arguments",
    [["list"], ["show", "aaaa"], ["compare", "aaaa", "bbbb"], ["watch", "aaaa"]],
    ids=lambda words: words[0],
)
def test_texts_of_runs_are_shown_not_obeyed(kfgcp: Command, arguments: list[str]) -> None:
    result = kfgcp(*arguments)

    written = result.out + result.err
    assert SHOWN[:20] in written
    assert not [line for line in written.split("\n") if DANGEROUS.search(line)]


def test_a_narrow_terminal_cuts_metrics_off_and_no_ids(
    terminal: Callable[..., tuple[int, str]], store: Store, make_run: MakeRun
) -> None:
    run_id = "train-classifier-af37395e4533"
    metrics = tuple(
        Metric("evaluate", "metrics", name, 0.123456)
        for name in ("accuracy", "precision", "recall")
    )
    store.put(
        make_run(run_id, pipeline="train-classifier", state=RunState.CANCELLED, metrics=metrics)
    )

    code, written = terminal("list")

    line = next(line for line in screen(written) if "train-classifier-" in line)
    assert code == 0
    assert line.startswith(f"{run_id}  CANCELLED  ")
    assert len(line) <= 100
    assert "…" in line


@pytest.mark.parametrize(
    ("columns", "headers", "first_run"),
    [
        ("60", ["RUN", "STATE", "PIPELINE", "ENV", "CREATED", "TOOK"], "6f0c0000"),
        ("70", ["RUN", "STATE", "PIPELINE", "EXPERIMENT", "ENV", "CREATED", "TOOK"], "6f0c0000"),
        (
            "90",
            ["RUN", "STATE", "PIPELINE", "EXPERIMENT", "ENV", "CREATED", "TOOK", "METRICS"],
            "6f0c0000",
        ),
        (
            "160",
            ["RUN", "STATE", "PIPELINE", "EXPERIMENT", "ENV", "CREATED", "TOOK", "METRICS"],
            "6f0c0000-0000-4000-8000-000000000001",
        ),
    ],
)
def test_a_narrow_terminal_shows_beginnings_of_uuids_and_leaves_columns_out(
    terminal: Callable[..., tuple[int, str]],
    store: Store,
    make_run: MakeRun,
    columns: str,
    headers: list[str],
    first_run: str,
) -> None:
    """The least widths are 8, 9, 8, 8, 5, 9, 4 and 8, and 2 between them: 73 with all columns."""
    metrics = (Metric("evaluate", "metrics", "accuracy", 0.123456),)
    for number in (1, 2):
        run_id = f"6f0c000{number - 1}-0000-4000-8000-00000000000{number}"
        store.put(
            make_run(run_id, pipeline="long-words", state=RunState.CANCELLED, metrics=metrics)
        )

    code, written = terminal("list", COLUMNS=columns)

    title, *rows = [line for line in screen(written) if line.strip()]
    assert code == 0
    assert title.split() == headers
    assert first_run in [row.split()[0] for row in rows]
    assert all(len(row) <= int(columns) for row in rows)


@pytest.mark.parametrize(
    ("columns", "headers", "hamlet"),
    [
        (
            "60",
            ["RUN", "STATE", "NAME", "PIPELINE", "CREATED", "TOOK"],
            ["6f0c0000", "CANCELLED", "hamlet"],
        ),
        (
            "80",
            ["RUN", "STATE", "NAME", "PIPELINE", "EXPERIMENT", "ENV", "CREATED", "TOOK"],
            ["6f0c0000", "CANCELLED", "hamlet"],
        ),
        (
            "160",
            ["RUN", "STATE", "NAME", "PIPELINE", "EXPERIMENT", "ENV", "CREATED", "TOOK", "METRICS"],
            ["6f0c0000-0000-4000-8000-000000000001", "CANCELLED", "hamlet"],
        ),
    ],
)
def test_the_name_of_a_run_is_listed_in_a_terminal_of_any_width(
    terminal: Callable[..., tuple[int, str]],
    store: Store,
    make_run: MakeRun,
    columns: str,
    headers: list[str],
    hamlet: list[str],
) -> None:
    """The least widths are those of the test above and 8 for NAME, after a gap of 2: 83 with all
    columns."""
    metrics = (Metric("evaluate", "metrics", "accuracy", 0.123456),)
    for number, name in enumerate(("hamlet", "a name that is much longer than its column")):
        run_id = f"6f0c000{number}-0000-4000-8000-00000000000{number + 1}"
        store.put(
            make_run(
                run_id, name=name, pipeline="long-words", state=RunState.CANCELLED, metrics=metrics
            )
        )

    code, written = terminal("list", COLUMNS=columns)

    title, *rows = [line for line in screen(written) if line.strip()]
    assert code == 0
    assert title.split() == headers
    assert hamlet in [row.split()[:3] for row in rows]
    assert all(len(row) <= int(columns) for row in rows)


def test_uuids_that_begin_the_same_stay_whole_in_a_narrow_terminal(
    terminal: Callable[..., tuple[int, str]], store: Store, make_run: MakeRun
) -> None:
    run_ids = {f"6f0c0000-0000-4000-8000-00000000000{number}" for number in (1, 2)}
    for run_id in run_ids:
        store.put(make_run(run_id, state=RunState.CANCELLED))

    _, written = terminal("list", COLUMNS="80")

    assert {line.split()[0] for line in screen(written) if line.startswith("6f0c")} == run_ids


def test_doctor_indents_what_does_not_fit_into_a_line(
    terminal: Callable[..., tuple[int, str]], home: Path
) -> None:
    """A sign, a blank, 15 characters for the name of the check, and two blanks come before what was
    found."""
    (home / "kfgcp.toml").write_text(f'[env.local]\nbackend = "local"\n"{"two words " * 20}" = 1\n')

    code, written = terminal("doctor")

    lines = screen(written)
    assert code == 2
    assert lines[0].startswith("✗ config           kfgcp.toml ")
    assert lines[1].startswith(" " * 19)
    assert lines[1][19] != " "
    assert len(lines[0]) <= 100
    assert len(lines[1]) <= 100


@pytest.mark.usefixtures("hostile")
def test_texts_of_runs_are_shown_not_obeyed_in_a_terminal(
    terminal: Callable[..., tuple[int, str]],
) -> None:
    for arguments in (["list"], ["show", "aaaa"], ["watch", "aaaa"]):
        _, written = terminal(*arguments)
        assert "\x1b]0;" not in written
        assert not re.search("[\x07\u202e\u2066\x9b]", written)
        assert "[red]" in written
        assert ":smile:" in written or arguments == ["list"], "list cuts long texts off"


def test_a_log_in_a_terminal_keeps_its_colours_and_is_not_obeyed_otherwise(
    terminal: Callable[..., tuple[int, str]], home: Path, store: Store, make_run: MakeRun
) -> None:
    store.add_run(
        make_run("aaaa", tasks=(Task("train", TaskKind.CONTAINER, TaskState.SUCCEEDED, 1),))
    )
    file = log_file(home / ".kfgcp", "aaaa", "train", 1)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\x1b[31mred\x1b[0m \x1b[2J\x1b]0;title\x07\n10%\r100%\n")

    for arguments, before in ((["logs", "aaaa"], "train | "), (["logs", "aaaa", "train"], "")):
        _, written = terminal(*arguments)
        first, second = written.splitlines()
        assert first == before + "\x1b[31mred\x1b[0m " + r"\x1b[2J\x1b]0;title\x07" + "\x1b[0m"
        assert second == f"{before}100%"


def test_json_keeps_hostile_texts_as_they_are(kfgcp: Command, hostile: Run) -> None:
    result = kfgcp("show", "aaaa", "--json")

    assert result.json == json.loads(json.dumps(hostile.to_dict()))
    assert result.out.isascii()


def test_a_hostile_parameter_goes_through_a_whole_run(
    kfgcp: Command, pipeline: Callable[[str], Path]
) -> None:
    text = HOSTILE.replace("\x00", "")

    result = kfgcp(
        "run", pipeline("echo"), "-p", f"text={text}", "--experiment", text, "--name", text
    )
    shown = kfgcp("show")

    assert result.code == 0
    assert SHOWN in result.out
    assert f"experiment {SHOWN}" in result.err.splitlines()[0]
    assert SHOWN in shown.out
    assert not [line for line in (result.out + shown.out).split("\n") if DANGEROUS.search(line)]
    assert kfgcp("show", "--json").json["outputs"] == {"Output": text}


@pytest.mark.usefixtures("hostile")
def test_a_pipe_gets_no_colours_and_no_trailing_blanks(
    kfgcp: Command, pipeline: Callable[[str], Path]
) -> None:
    for arguments in (
        ["list"],
        ["show", "bbbb"],
        ["compare"],
        ["run", pipeline("one_fails")],
        ["show", "zzzz"],
        ["-h"],
    ):
        result = kfgcp(*arguments)
        written = result.out + result.err
        assert "\x1b" not in written, arguments
        assert not [line for line in result.out.splitlines() if line != line.rstrip()], arguments


def test_a_narrow_encoding_gets_escapes(kfgcp: Command, store: Store, make_run: MakeRun) -> None:
    store.add_run(make_run(params={"text": "世界 \udcff"}))

    narrow = kfgcp("show", env={"PYTHONIOENCODING": "iso-8859-1"})
    whole = kfgcp("show")

    assert (narrow.code, whole.code) == (0, 0)
    assert r"\u4e16\u754c \udcff" in narrow.out
    assert r"世界 \udcff" in whole.out


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_a_closed_stream_is_not_a_bug(
    environment: Callable[[], dict[str, str]], closed: str
) -> None:
    command = Path(sys.executable).with_name("kfgcp")

    for verb, code in (("list", 0), ("nonsense", 2)):
        result = subprocess.run(
            ["sh", "-c", f'exec "$0" "$@" {closed}', command, verb],
            env=environment(),
            capture_output=True,
            text=True,
        )
        assert (result.returncode, "Traceback" in result.stderr) == (code, False)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0, "0 s"),
        (0.0, "0 s"),
        (3.0, "3 s"),
        (3.001, "3.00 s"),
        (9.994, "9.99 s"),
        (10, "10 s"),
        (59.9, "59.9 s"),
        (60, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (90061, "25 h 01 min"),
    ],
)
def test_durations_are_for_people(seconds: float | None, text: str) -> None:
    assert output.seconds(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (None, "null"),
        (1, "1"),
        (10**30, "1" + "0" * 30),
        (1 / 3, "0.333333"),
        (1e-12, "1e-12"),
        (float("nan"), "nan"),
        ("plain", "plain"),
        ("two\nlines\t.", "two\\nlines\t."),
        ({"k": ["世", None]}, '{"k": ["世", null]}'),
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 59 + "…"),
    ],
)
def test_values_are_one_short_line(value: object, text: str) -> None:
    assert output.value_text(value) == text


def test_a_flood_of_lines_does_not_hold_the_terminal_up(
    terminal: Callable[..., tuple[int, str]], home: Path
) -> None:
    (home / "flood.py").write_text(
        "from kfp import dsl\n\n"
        '@dsl.component(base_image="python:3.11")\n'
        "def flood():\n    for number in range(200_000):\n        print('line', number)\n\n"
        '@dsl.pipeline(name="flood")\ndef pipeline():\n    flood()\n',
        encoding="utf-8",
    )
    code, written = terminal("run", "flood.py")
    assert code == 0
    assert "lines left out, see: kfgcp logs" in written
    assert "line 199999" in written
    assert written.count("line ") < 20_000


def test_images_and_their_contents_stay_whole_in_80_columns(
    terminal: Callable[..., tuple[int, str]], home: Path
) -> None:
    registry = "europe-west4-docker.pkg.dev/acme-machine-learning/images-of-components"
    (home / "kfgcp.toml").write_text(f'[project]\nimage_registry = "{registry}"\n')
    code, written = terminal("images", "list", COLUMNS="80")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", written).splitlines()
    assert code == 0
    assert [len(line) <= 80 for line in lines] == [True] * 4
    for line, name in zip(lines[1:], ("base", "gcp", "tabular"), strict=True):
        assert re.match(rf"{name} +c-[0-9a-f]{{12}}  not built  europe-west4", line)
