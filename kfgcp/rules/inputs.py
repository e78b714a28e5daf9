"""Read the inputs of tasks, for rules."""

from __future__ import annotations

from kfgcp.spec.graph import Binding, Constant
from kfgcp.spec.wire import CHANNEL


def read_constant(binding: Binding) -> object:
    """Return the constant that an input is set to, None when it is not set to a constant."""
    source = binding.source
    if isinstance(source, Constant) and not binding.selector:
        value: object = source.value
        return value
    return None


def plain_name(name: str) -> str:
    """Return the name of an input as its author knows it, without the prefix of KFP.

    Example:
        >>> plain_name("pipelinechannel--train-Output")
        'train-Output'
    """
    return name.removeprefix(CHANNEL)
