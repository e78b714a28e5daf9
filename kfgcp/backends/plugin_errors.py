"""Wrap the objects of plug-ins, so that their unexpected errors name the plug-in.

A backend should raise only errors of `kfgcp.errors`. A plug-in with a bug may raise any error. When
the message does not name the plug-in, the error looks like a bug of kfgcp.
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
    """Return an object that works like `target`, but whose unexpected errors name the plug-in.

    Args:
        target: a service or a backend of a plug-in.
        in_method: returns the context manager that changes errors. Its argument is the name of a
            method.
    """
    # Capabilities are Protocols. Since Python 3.12, isinstance() ignores __getattr__ and looks for
    # members of the class. So the class of the returned object gets each member of `target`.
    members = {"__slots__": ()}
    for name in dir(target):
        if not name.startswith("_"):
            members[name] = _wrap_member(target, name, in_method)
    proxy: T = type(type(target).__name__, (), members)()
    return proxy


def _wrap_member(target: object, name: str, in_method: ErrorContext) -> Any:
    """Return a method or a property that calls or reads the member of `target` with this name."""
    if inspect.isroutine(inspect.getattr_static(target, name)):
        return _wrap_method(getattr(target, name), name, in_method)

    def read_member(_: object) -> object:
        with in_method(name):
            return getattr(target, name)

    return property(read_member)


def _wrap_method(
    method: Callable[..., Any], name: str, in_method: ErrorContext
) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(_: object, *arguments: object, **keywords: object) -> object:
        with in_method(name):
            result = method(*arguments, **keywords)
        # The code of a generator runs later, while its items are read.
        if isinstance(result, Iterator):
            return _wrap_iterator(result, name, in_method)
        return result

    return call


def _wrap_iterator(items: Iterator[Any], name: str, in_method: ErrorContext) -> Iterator[Any]:
    while True:
        with in_method(name):
            try:
                item = next(items)
            except StopIteration:
                return
        yield item
