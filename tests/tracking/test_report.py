"""A comparison as text, Markdown and HTML: whole, readable, and nothing that a run says is taken
for markup."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest

from json_types import JsonDict
from kfgcp.model import Metric, Run
from kfgcp.tracking.compare import compare

MakeRun = Callable[..., Run]
NASTY = [
    "a|b",
    "`code`",
    "``` fence",
    "two\nlines",
    "<script>alert(1)</script>",
    "<!-- hidden",
    "**bold** _it_ ~gone~",
    "[link](http://x.example)",
    "![image](http://x.example/p.png)",
    "@somebody #12 http://x.example",
    "see www.x.example",
    "bot@x.example",
    "&lt;b&gt; &#124;",
    "\\| \\",
    "</details>",
    "\x1b[31mred",
    "--- | ---",
]


def _two(make_run: MakeRun) -> list[Run]:
    return [
        make_run("aaaa", params={"lr": 0.5}, metrics=(Metric("evaluate", "m", "accuracy", 0.5),)),
        make_run("bbbb", params={"lr": 0.25}, metrics=(Metric("evaluate", "m", "accuracy", 0.75),)),
    ]


def test_text_has_a_column_a_run(make_run: MakeRun) -> None:
    assert compare(_two(make_run)).to_text() == (
        "                       aaaa  bbbb\n"
        "params\n"
        "  lr                   0.5   0.25  (-0.25)\n"
        "\n"
        "metrics\n"
        "  evaluate/m/accuracy  0.5   0.75  (+0.25, better)\n"
    )


def test_markdown_is_a_table_for_each_group(make_run: MakeRun) -> None:
    assert compare(_two(make_run)).to_markdown() == (
        "| params | <code>aaaa</code> (baseline) | <code>bbbb</code> |\n"
        "| --- | --- | --- |\n"
        "| <code>lr</code> | 0.5 | 0.25 (-0.25) |\n"
        "\n"
        "| metrics | <code>aaaa</code> (baseline) | <code>bbbb</code> |\n"
        "| --- | --- | --- |\n"
        "| <code>evaluate/m/accuracy</code> | 0.5 | 0.75 (+0.25, better) |\n"
    )


def test_equal_runs_say_so_in_every_form(make_run: MakeRun) -> None:
    same = compare([make_run(), make_run("bbbb")])

    assert same.to_text() == same.to_markdown() == "Nothing differs.\n"
    assert "Nothing differs." in same.to_html()


def test_markdown_of_many_runs_has_a_row_a_run(make_run: MakeRun) -> None:
    runs = [make_run(f"run{number:02d}", params={"lr": number}) for number in range(20)]

    lines = compare(runs).to_markdown().splitlines()

    assert lines[:3] == [
        "| params | <code>lr</code> |",
        "| --- | --- |",
        "| <code>run00</code> (baseline) | 0 |",
    ]
    assert len(lines) == 22
    assert lines[-1] == "| <code>run19</code> | 19 (+19) |"


@pytest.mark.parametrize("text", NASTY)
def test_texts_of_runs_stay_texts_in_markdown(make_run: MakeRun, text: str) -> None:
    runs = [make_run(f"a{text}", params={text: text}), make_run("b", params={text: "x"})]

    markdown = compare(runs).to_markdown()

    lines = markdown.splitlines()
    assert len(lines) == 3
    assert all(line.count("|") == 4 for line in lines)
    inside = re.findall(r"<code>(.*?)</code>", markdown)
    assert len(inside) == 5
    for cell in inside:
        assert not re.search(
            r"www\.|(?<!<!-- -->)&#64;", cell
        )  # which become links inside of `code` too
        assert not set(re.sub(r"&#\d+;|<!-- -->", "", cell)) & set("|`<>[]*_~@#:!\\&\n\x1b")


def test_control_characters_are_shown_wherever_they_stand(make_run: MakeRun) -> None:
    def spec(task: str) -> JsonDict:
        return {
            "root": {"dag": {"tasks": {task: {"componentRef": {"name": "c"}}}}},
            "components": {"c": {}},
        }

    hostile = "\x1b[31m\u202e\x07"
    labels = {"git": hostile}
    one = make_run(
        f"a{hostile}", version=f"v{hostile}", env=hostile, params={hostile: hostile}, labels=labels
    )
    markdown = compare(
        [one, make_run(f"b{hostile}", version="w")],
        specs={one.version: spec(hostile), "w": spec("t")},
    )

    for text in (markdown.to_text(), markdown.to_markdown(), markdown.to_html()):
        assert not set(text) & set(hostile) - set("[31m")
    assert "  ~ t (was \\x1b[31m\\u202e\\x07)\n" in markdown.to_text()


class _Texts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.parametrize("text", NASTY)
def test_texts_of_runs_stay_texts_in_html(make_run: MakeRun, text: str) -> None:
    page = _Texts()
    page.feed(
        compare(
            [make_run("a", params={text: text}), make_run(f"b{text}", params={text: "x"})]
        ).to_html()
    )

    assert page.tags <= {
        *(
            "html",
            "head",
            "meta",
            "title",
            "style",
            "body",
            "div",
            "table",
            "tr",
            "th",
            "td",
            "small",
        )
    }
    shown = text.replace("\n", "\\n").replace("\x1b", "\\x1b")
    assert page.texts.count(shown) == 2


def test_html_loads_nothing_and_runs_nothing(make_run: MakeRun) -> None:
    html = compare(_two(make_run)).to_html()

    assert html.startswith("<!doctype html>")
    assert not re.search(r"<script|<link|src=|href=|url\(|@import", html)
    assert '<td class="better">0.75 <small>(+0.25, better)</small></td>' in html


def test_changes_of_pipelines_are_a_diff_that_nothing_can_leave(make_run: MakeRun) -> None:
    def spec(image: str) -> JsonDict:
        return {
            "pipelineInfo": {"name": "p"},
            "components": {"comp-t": {"executorLabel": "exec-t"}},
            "deploymentSpec": {"executors": {"exec-t": {"container": {"image": image}}}},
            "root": {
                "dag": {
                    "tasks": {"t": {"componentRef": {"name": "comp-t"}, "taskInfo": {"name": "t"}}}
                }
            },
        }

    runs = [make_run("a", version="v1"), make_run("b", version="v2")]
    markdown = compare(runs, specs={"v1": spec("one"), "v2": spec("x````</details>")})

    lines = markdown.to_markdown().splitlines()
    start = lines.index("`````diff")
    assert lines[start + 1 : start + 3] == ["~ t: image: one → x````</details>", "`````"]
    assert "pipeline v1 → v2 of b\n  ~ t: image: one → x````" in markdown.to_text()
    assert "x````&lt;/details&gt;" in markdown.to_html()
