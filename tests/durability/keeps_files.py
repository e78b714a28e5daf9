"""Tasks that leave files which tell who made them: each execution writes a word of its own."""

from kfp import dsl

IMAGE = "python:3.11"


@dsl.component(base_image=IMAGE)
def train(x: int, model: dsl.Output[dsl.Model]):
    import uuid

    word = uuid.uuid4().hex
    print("word", word)
    for path in (model.path, model.path + ".vocab"):
        with open(path, "w") as file:
            file.write(word)


@dsl.component(base_image=IMAGE)
def part(x: int, number: int, data: dsl.Output[dsl.Dataset]):
    import os
    import uuid

    word = uuid.uuid4().hex
    print("word", word)
    os.makedirs(data.path + "/deep")
    with open(data.path + "/deep/rows", "w") as file:
        file.write(word)


@dsl.pipeline(name="keeps-files")
def keeps_files(x: int = 0):
    train(x=x)
    with dsl.ParallelFor([0, 1]) as number:
        part(x=x, number=number)
