"""A pipeline with mistakes on purpose, for docs/guides/check.md. Do not copy from it.

kfgcp check examples/check_me.py --all-envs
"""

from kfp import dsl


@dsl.component(
    base_image="python:latest",
    packages_to_install=["pandas"],
    pip_index_urls=["https://reader:hunter2-example@packages.acme.example/simple"],
)
def load(table: str) -> list:
    return [1, 2, 3]


@dsl.container_component
def train(part: int, model: dsl.Output[dsl.Model]):
    return dsl.ContainerSpec(
        image="europe-docker.pkg.dev/acme/ml/train:v3",
        command=["python", "train.py"],
        args=["--part", part, "--model", model.path],
    )


@dsl.component(base_image="python:3.12-slim")
def evaluate(models: dsl.Input[list[dsl.Model]]) -> float:
    return float(len(models))


@dsl.component(base_image="python:3.12-slim")
def notify(status: dsl.PipelineTaskFinalStatus):
    print(status.state == "SUCCEEDED")


@dsl.pipeline(name="check-me")
def check_me(table: str = "/home/me/tables/words.csv"):
    done = notify()
    with dsl.ExitHandler(done):
        parts = load(table=table)
        with dsl.ParallelFor(parts.output) as part:
            model = train(part=part)
            model.set_accelerator_type("NVIDIA_L4").set_accelerator_limit(1)
            model.set_cpu_limit("112")
            model.set_retry(3)
            model.set_env_variable("DB_PASSWORD", "hunter2-example")
        evaluate(models=dsl.Collected(model.outputs["model"]))
