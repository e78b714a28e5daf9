"""A task that sleeps beside a process that it started, and one below it."""

from kfp import dsl


@dsl.component(base_image="python:3.11")
def sleep(seconds: float, pids: str, stubborn: bool) -> float:
    """Writes the ids of its process and of its child to a file; a stubborn one does not end when
    asked to."""
    import os
    import signal
    import subprocess
    import time

    if stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(["sleep", "600"])
    if pids:
        with open(f"{pids}.part", "w") as file:
            file.write(f"{os.getpid()} {child.pid}")
        os.rename(f"{pids}.part", pids)
    print("asleep")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            time.sleep(0.05)
        except KeyboardInterrupt:
            if not stubborn:
                raise
    child.kill()
    return seconds


@dsl.component(base_image="python:3.11")
def after(slept: float) -> str:
    return f"slept {slept} s"


@dsl.pipeline(name="sleeps")
def sleeps(seconds: float = 600.0, pids: str = "", stubborn: bool = False):
    after(slept=sleep(seconds=seconds, pids=pids, stubborn=stubborn).output)
