"""A task that prints a text and returns it."""

from kfp import dsl


@dsl.component(base_image="python:3.11")
def say(text: str) -> str:
    print(text)
    return text


@dsl.pipeline(name="echo")
def echo(text: str = "hello") -> str:
    return say(text=text).output
