"""Objects of plug-ins whose unexpected errors name the plug-in.

A backend raises the errors of `kfgcp.errors` and nothing else. A plug-in with a bug may raise
anything. Without its name, such an error looks like a bug of kfgcp.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, TypeVar

T = TypeVar("T")
ErrorContext = Callable[[str], AbstractContextManager[None]]


def name_errors(target: T, in_method: ErrorContext) -> T:
    """Return an object that does what `target` does, but its methods raise named errors.

    Args:
        target: a service or a backend of a plug-in.
        in_method: returns the context manager that changes errors, by the name of a method.
    """
    # Capabilities are Protocols. Since Python 3.12, isinstance() finds only members that a class
    # really has, so each one gets its own member here, and __getattr__ is not enough.
    members = {"__slots__": ()}
    for name in dir(target):
        if not name.startswith("_"):
            members[name] = _member(target, name, in_method)
    proxy: T = type(type(target).__name__, (), members)()
    return proxy


def _member(target: object, name: str, in_method: ErrorContext) -> Any:
    """Return a method or a property that has the value of a member of another object."""
    if inspect.isroutine(inspect.getattr_static(target, name)):
        return _method(getattr(target, name), name, in_method)

    def read_member(_: object) -> object:
        with in_method(name):
            return getattr(target, name)

    return property(read_member)


def _method(method: Callable[..., Any], name: str, in_method: ErrorContext) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(_: object, *arguments: object, **keywords: object) -> object:
        with in_method(name):
            result = method(*arguments, **keywords)
        # The code of a generator runs while its items are read.
        return _items(result, name, in_method) if isinstance(result, Iterator) else result

    return call


def _items(items: Iterator[Any], name: str, in_method: ErrorContext) -> Iterator[Any]:
    while True:
        with in_method(name):
            try:
                item = next(items)
            except StopIteration:
                return
        yield item
