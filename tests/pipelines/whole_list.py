"""A container component that passes a whole list of artifacts to its command."""

from kfp import dsl


@dsl.component(base_image="python:3.11")
def make(data: dsl.Output[dsl.Dataset]):
    with open(data.path, "w") as file:
        file.write("content")


@dsl.container_component
def count(data: dsl.Input[list[dsl.Dataset]]):
    return dsl.ContainerSpec(image="python:3.11", command=["count"], args=["--data", data])


@dsl.pipeline(name="whole-list")
def whole_list():
    with dsl.ParallelFor([1, 2]):
        made = make()
    count(data=dsl.Collected(made.outputs["data"]))
