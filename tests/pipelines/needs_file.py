"""A task that writes its process id into a folder, and one below it that fails unless there is a
file `go` in it."""

from kfp import dsl


@dsl.component(base_image="python:3.11")
def note(folder: str) -> str:
    import os

    with open(os.path.join(folder, "noted"), "a") as file:
        file.write(f"{os.getpid()}\n")
    return folder


@dsl.component(base_image="python:3.11")
def need(folder: str) -> str:
    import os

    if not os.path.exists(os.path.join(folder, "go")):
        raise FileNotFoundError("there is no go")
    return "went"


@dsl.pipeline(name="needs-file")
def needs_file(folder: str):
    need(folder=note(folder=folder).output)
