"""A task that writes many lines to its output and its errors in turn."""

from kfp import dsl


@dsl.component(base_image="python:3.11")
def talk(lines: int):
    import sys

    for number in range(lines):
        print(f"line {number}", file=sys.stderr if number % 2 else sys.stdout)
    sys.stdout.write("no newline at the end")


@dsl.pipeline(name="chatter")
def chatter(lines: int = 2000):
    talk(lines=lines)
