"""Widgets whose values live in the address, so that every view has a link: `?state=FAILED&page=2`.

Streamlit's own binding writes the labels of options; here the values themselves are written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import streamlit as st

_SEEN: Final = "address"


def widget(
    make: Callable[..., Any],
    label: str,
    *options: Sequence[Any],
    key: str,
    default: Any,
    **named: Any,
) -> Any:
    """The value of a widget, read from the address when that says something new, and written to it.

    Args:
        make: of Streamlit or of a container: `st.selectbox`.
        label: of the widget.
        options: what there is to choose from, when it is a widget with options; what an address
            names beside them is left out.
        key: of the widget and of the value in the address.
        default: its value when the address has none; never written. Its type says how the address
            is read: a list, a text, a whole number or a truth value.
        named: further arguments of the widget.
    """
    peek(key, default, options[0] if options else None)
    value = make(label, *options, key=key, **named)
    st.session_state[_SEEN][key] = put(key, value, default)
    return value


def peek(key: str, default: Any, options: Sequence[Any] | None = None) -> Any:
    """The value that a widget of that key is going to have; arguments as of `widget`."""
    raw = st.query_params.get_all(key)
    seen: dict[str, list[str]] = st.session_state.setdefault(_SEEN, {})
    if key not in st.session_state or seen.get(key) != raw:
        st.session_state[key] = _read(raw, default, options)
        seen[key] = raw
    return st.session_state[key]


def put(key: str, value: Any, default: Any = None) -> list[str]:
    """Writes a value to the address, or removes it when it is the default; what stands there
    then."""
    if value == default or value is None or value == []:
        now = []
    elif isinstance(value, (list, tuple)):
        now = [str(each) for each in value]
    else:
        now = ["1" if value is True else "0" if value is False else str(value)]
    if now != st.query_params.get_all(key):
        if now:
            st.query_params[key] = now
        else:
            st.query_params.pop(key, None)
    return now


def _read(raw: Sequence[str], default: Any, options: Sequence[Any] | None) -> Any:
    if not raw:
        return default
    if isinstance(default, list):
        return [each for each in raw if options is None or each in options]
    text = raw[-1]
    if isinstance(default, bool):
        return text == "1"
    if isinstance(default, int):
        return int(text) if text.isdecimal() and len(text) < 10 else default
    return text if options is None or text in options else default
