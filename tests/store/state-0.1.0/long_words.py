"""How many words of a text are long: plain Kubeflow Pipelines, nothing of kfgcp in it."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Output


@dsl.component(base_image="python:3.11")
def make_words(text: str, words: Output[Dataset]) -> int:
    """Writes the words of a text, one a line, and returns how many there are."""
    found = text.split()
    with open(words.path, "w") as file:
        file.write("\n".join(found))
    print(f"{len(found)} words")
    return len(found)


@dsl.component(base_image="python:3.11")
def measure(words: Input[Dataset], longer_than: int, metrics: Output[Metrics]) -> float:
    """Measures the share of words that are longer than a number of letters."""
    with open(words.path) as file:
        lengths = [len(line.strip()) for line in file]
    share = sum(length > longer_than for length in lengths) / max(len(lengths), 1)
    metrics.log_metric("share_of_long_words", share)
    metrics.log_metric("mean_length", sum(lengths) / max(len(lengths), 1))
    return share


@dsl.pipeline(name="long-words")
def long_words(
    text: str = "the quick brown fox jumps over the lazy dog", longer_than: int = 4
) -> float:
    """Measures how many words of a text are long.

    Args:
        text: the text.
        longer_than: a word with more letters is long.
    """
    words = make_words(text=text)
    return measure(words=words.outputs["words"], longer_than=longer_than).outputs["Output"]
