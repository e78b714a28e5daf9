"""Widgets whose values are in the address, so that each view has a link: `?state=FAILED&page=2`.

Streamlit can bind widgets to the address by itself (`bind="query-params"`), but it does not fit
here. It writes the labels of `format_func`, which change with the data, and not the values
(streamlit pull request 13922). And a bound parameter cannot be set by the script, which sorting by
a click and "Show all" need (streamlit issue 14670).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar, cast

import streamlit as st

T = TypeVar("T")

# Key of Streamlit's session: the parameters of the address in the last run of the script.
_LAST_PARAMETERS: Final = "address"

# A number with more digits is not a page.
_MAX_DIGITS: Final = 9


def widget(
    create_widget: Callable[..., object],
    label: str,
    *options: Sequence[str],
    key: str,
    default: T,
    **arguments: Any,
) -> T:
    """Show a widget and return its value, which is also in the address.

    When the address has changed since the last run of the script, somebody opened a link or went
    back. The widget then takes its value from the address. Otherwise the address takes its value
    from the widget.

    Args:
        create_widget: a function of Streamlit or of a container, for example `st.selectbox`.
        label: of the widget.
        options: one sequence, when the user chooses from options. Other values in the address are
            ignored.
        key: of the widget and of the parameter in the address.
        default: the value when the address has no parameter. This value is never written into the
            address. Its type decides how the parameter is read: a list, a text, an integer or a
            truth value.
        arguments: more arguments of the widget.
    """
    read_value(key, default, options[0] if options else None)
    value = cast(T, create_widget(label, *options, key=key, **arguments))
    st.session_state[_LAST_PARAMETERS][key] = write_value(key, value, default)
    return value


def read_value(key: str, default: T, options: Sequence[str] | None = None) -> T:
    """Return the value that the widget of a key will show. The arguments are as in `widget`."""
    parameters = st.query_params.get_all(key)
    last_parameters: dict[str, list[str]] = st.session_state.setdefault(_LAST_PARAMETERS, {})
    if key not in st.session_state or last_parameters.get(key) != parameters:
        # Streamlit takes the value of a widget from here, and ignores its `index` or `value`.
        st.session_state[key] = _parse(parameters, default, options)
        last_parameters[key] = parameters
    return cast(T, st.session_state[key])


def write_value(key: str, value: object, default: object = None) -> list[str]:
    """Write a value into the address, or remove its parameters when it is the default.

    Returns:
        The parameters that the address now has for this key.
    """
    parameters = _format(value)
    if value == default:
        parameters = []
    # Each assignment sends a message to the browser, even when nothing changes.
    if parameters != st.query_params.get_all(key):
        if parameters:
            st.query_params[key] = parameters
        else:
            st.query_params.pop(key, None)
    return parameters


def _format(value: object) -> list[str]:
    if value is None:
        return []
    if isinstance(value, (list, tuple)):
        return list(map(str, value))
    if isinstance(value, bool):
        return ["1" if value else "0"]
    return [str(value)]


def _parse(parameters: Sequence[str], default: object, options: Sequence[str] | None) -> object:
    if not parameters:
        return default
    if isinstance(default, list):
        if options is None:
            return list(parameters)
        return [item for item in parameters if item in options]
    text = parameters[-1]
    if isinstance(default, bool):
        return text == "1"
    if isinstance(default, int):
        is_number = text.isdecimal() and len(text) <= _MAX_DIGITS
        return int(text) if is_number else default
    if options is not None and text not in options:
        return default
    return text
