"""Parse the JSON of an answer, and refuse numbers and nesting that kfgcp cannot keep."""

from __future__ import annotations

import json
import math
import re
import sys
from typing import Any, Final

from kfgcp.services.fields import nests_too_deep
from kfgcp.spec.json_values import MAX_DEPTH, NotJsonError, check_json

# A surrogate in a parsed text. The parser joins complete pairs of surrogates to a character. So a
# surrogate that remains has no partner, and is not a character.
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
# Surrogates in the bytes of JSON, also complete pairs, which are valid.
_SURROGATE_BYTES: Final = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")

# Tables and comparisons of runs use doubles. An integer with more digits may not fit into a double.
_MAX_DIGITS: Final = sys.float_info.max_10_exp


def parse_json(body: bytes) -> Any:
    """Parse a JSON text, and return its value.

    A surrogate without its partner becomes U+FFFD, as in Go's package for JSON.

    Raises:
        ValueError: the text is not JSON, or an object has a key twice.
        NotJsonError: the text has NaN, a number that does not fit into a double, or too many levels
            of lists and objects.
    """
    # The functions below notice a bad number, but do not know its place. `check_json` finds the
    # place. It reads the whole value again, so it is called only after a bad number.
    has_bad_number = False

    def parse_real(digits: str) -> float:
        nonlocal has_bad_number
        number = float(digits)
        has_bad_number = has_bad_number or not math.isfinite(number)
        return number

    def parse_whole(digits: str) -> int:
        nonlocal has_bad_number
        has_bad_number = has_bad_number or len(digits.lstrip("-")) > _MAX_DIGITS
        return int(digits)

    try:
        value = json.loads(
            body,
            parse_constant=parse_real,
            parse_float=parse_real,
            parse_int=parse_whole,
            object_pairs_hook=_refuse_repeated_keys,
        )
    except RecursionError:
        raise NotJsonError((), f"nests deeper than {MAX_DEPTH} levels") from None
    if _SURROGATE_BYTES.search(body):
        value = _replace_lone_surrogates(value)
    if has_bad_number or nests_too_deep(value):
        check_json(value, max_digits=_MAX_DIGITS)
    return value


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object with these keys and values.

    Raises:
        ValueError: a key comes twice. Programs do not agree which of its values counts.
    """
    json_object = dict(pairs)
    if len(json_object) < len(pairs):
        raise ValueError("an object has a key twice")
    return json_object


def _replace_lone_surrogates(value: Any) -> Any:
    """Return a JSON value with U+FFFD in place of each surrogate without a partner."""
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_replace_lone_surrogates(item) for item in value]
    if isinstance(value, dict):
        clean_object: dict[str, Any] = {}
        for key, item in value.items():
            clean_object[_LONE_SURROGATE.sub("\ufffd", key)] = _replace_lone_surrogates(item)
        return clean_object
    return value
