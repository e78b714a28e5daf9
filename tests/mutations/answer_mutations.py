"""Random changes of one answer of a service: of its JSON, of its protobuf message, or of its
bytes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from google.protobuf.message import DecodeError

from kfgcp.backends.kubeflow import mlmd

Place = tuple[Any, ...]

OVERFLOW = "<1e400>"
"""Stands for the JSON number 1e400, which no Python value is written as."""
HOSTILE_TEXTS = (
    "",
    " ",
    "\n",
    "a\nb",
    "x" * 50_000,
    "\ud800",
    "a\udfff",
    "\x00",
    "\x1b[31mred\x1b[0m\r\n",
    "null",
    "-1",
    "1e400",
    "NaN",
    "{}",
    '{"list": [',
    '"',
    "../../etc/passwd",
    "%00%ff",
    "gs://",
    "gs://bucket",
    "file:///etc/passwd",
    "http://[",
    "projects/p/locations/l/pipelineJobs/",
    "PIPELINE_STATE_SUCCEEDED",
    "PIPELINE_STATE_FAILED",
    "PIPELINE_STATE_CANCELLED",
    "SUCCEEDED",
    "FAILED",
    "RUNNING",
    "SKIPPED",
    "NOT_TRIGGERED",
    "A_STATE_OF_NEXT_YEAR",
    "]",
    "a[",
    "loop[2]/a]",
    "v1." + "9" * 5000,
    'kfgcp: {"a": ' + "[" * 5000 + "}",
)
WRONG_TIMES = (
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "0000-00-00T00:00:00Z",
    "1969-12-31T23:59:59Z",
    "9999-12-31T23:59:59.999999999Z",
    "9999-12-31T23:59:59-14:00",
    "2026-02-30T00:00:00Z",
    "2026-01-02",
    "2026-01-02T03:04:05",
    "2026-01-02T03:04:05+99:00",
    "2026-W01",
    "1767322800",
    "tomorrow",
)
NUMBERS = (
    0,
    -1,
    1,
    7,
    0.5,
    -0.0,
    1e308,
    2**53 + 1,
    2**63,
    2**70,
    -(2**70),
    10**400,
    float("nan"),
    float("inf"),
)
CONTAINERS = (
    [],
    {},
    [[]],
    [None],
    [1, "two"],
    {"": None},
    {"a": {"b": [1, {}]}},
    {"list": 1},
    {"struct": []},
)
DEPTHS = (50, 300, 900, 100_000)
HTML = (
    b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Log in to your"
    b" account</body></html>"
)
LARGE_SUBTREES = ("pipelineSpec", "pipeline_spec")
"""Their nodes are most of an answer, so that few mutations would reach anything else."""


@dataclass(frozen=True)
class WireAnswer:
    """An answer as it goes over the wire. headers: names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Mutated:
    """A changed answer, and what was changed in words."""

    answer: WireAnswer
    change: str


def mutate(answer: WireAnswer, random: Random) -> Mutated:
    """Return the answer with one random change."""
    content_type = answer.headers.get("content-type", "")
    if random.random() < 0.15:
        return _mutate_whole(answer, random)
    if content_type.startswith(mlmd.CONTENT_TYPE):
        return _mutate_message(answer, random)
    try:
        value = json.loads(answer.body)
    except ValueError:
        return _mutate_bytes(answer, random)
    changed, change = mutate_json(value, random)
    return Mutated(replace(answer, body=encode_json(changed)), change)


def encode_json(value: object) -> bytes:
    """Return JSON as a careless server writes it: NaN, infinities and halves of surrogate pairs
    included."""
    if isinstance(value, DeepList):
        return b"[" * value.depth + b"]" * value.depth
    text = json.dumps(value, default=lambda deep: f"<deep {deep.depth}>")
    for depth in DEPTHS:
        text = text.replace(f'"<deep {depth}>"', "[" * depth + "]" * depth)
    return text.replace(f'"{OVERFLOW}"', "1e400").encode()


@dataclass(frozen=True)
class DeepList:
    """Lists inside each other, as deep as no encoder of Python writes them."""

    depth: int


def mutate_json(value: object, random: Random) -> tuple[object, str]:
    """Return a changed copy of a JSON value, and the change in words."""
    value = json.loads(json.dumps(value))
    places = list(_places(value))
    interesting = [place for place in places if not any(key in place for key in LARGE_SUBTREES)]
    if random.random() < 0.8:
        places = interesting
    place = random.choice(places)
    if not place:
        replacement = _any_value(value, places, random)
        return replacement, f"the answer is {_shown(replacement)}"
    parent = _at(value, place[:-1])
    name = _dotted(place)
    change = random.choice(("replace", "replace", "replace", "remove", "repeat", "move"))
    if change == "remove":
        del parent[place[-1]]
        return value, f"{name} is removed"
    if change == "repeat" and isinstance(parent, list):
        parent.insert(random.randrange(len(parent) + 1), parent[place[-1]])
        return value, f"{name} is repeated"
    if change == "repeat":
        key = random.choice((f"{place[-1]}X", place[-1].upper(), "", "name"))
        parent[key] = parent.pop(place[-1])
        return value, f"{name} is renamed to {key!r}"
    if change == "move":
        other = random.choice(places)
        parent[place[-1]] = json.loads(json.dumps(_at(value, other)))
        return value, f"{name} is replaced by a copy of {_dotted(other) or 'everything'}"
    parent[place[-1]] = _any_value(parent[place[-1]], places, random)
    return value, f"{name} is replaced by {_shown(parent[place[-1]])}"


def _any_value(before: Any, places: list[Place], random: Random) -> Any:
    """Return a value that is wrong: most often of another type, sometimes a wrong one of the same
    type."""
    kinds: list[Callable[[], Any]] = [
        lambda: None,
        lambda: random.choice(NUMBERS),
        lambda: OVERFLOW,
        lambda: random.choice((True, False)),
        lambda: random.choice(HOSTILE_TEXTS),
        lambda: json.loads(json.dumps(random.choice(CONTAINERS))),
        lambda: DeepList(random.choice(DEPTHS)),
        lambda: [before],
        lambda: {"value": before},
        lambda: str(before),
    ]
    if isinstance(before, str) and random.random() < 0.5:
        is_time = before[:2] == "20" and before[4:5] == "-"
        return random.choice(WRONG_TIMES if is_time else HOSTILE_TEXTS)
    return random.choice(kinds)()


def _mutate_whole(answer: WireAnswer, random: Random) -> Mutated:
    body = answer.body
    page = WireAnswer(200, {"content-type": "text/html"}, HTML)
    unlabelled = {name: value for name, value in answer.headers.items() if name != "content-type"}
    error = {
        "error": {"code": 404, "message": "It is not there.", "status": "NOT_FOUND", "details": []}
    }
    changed_error, change = mutate_json(error, random)
    status = random.choice((301, 400, 401, 403, 404, 409, 412, 429, 500, 501, 503))
    wholes = [
        (replace(answer, body=b""), "the body is empty"),
        (replace(answer, body=b"   \n"), "the body is blank"),
        (replace(answer, body=body[: random.randrange(len(body) + 1)]), "the body is cut off"),
        (replace(answer, body=body + body), "the body is there twice"),
        (replace(answer, body=b"\xef\xbb\xbf" + body), "the body begins with a byte order mark"),
        (replace(answer, body=body.decode("latin-1").encode("utf-16")), "the body is UTF-16"),
        (replace(answer, body=b'{"a": "\xff\xfe"}'), "the body is not UTF-8"),
        (
            replace(answer, body=b'{"a": "\xed\xa0\x80"}'),
            "the body has half a surrogate pair as bytes",
        ),
        (replace(answer, body=b"[" * 100_000), "the body nests 100,000 lists"),
        (replace(answer, body=b"9" * 5000), "the body is a number of 5,000 digits"),
        (replace(answer, body=b'{"a": 1, "a": ' + b"9" * 5000 + b"}"), "a number has 5,000 digits"),
        (page, "the answer is a web page"),
        (replace(page, headers=answer.headers), "the body is a web page"),
        (replace(answer, headers={"content-type": "text/html"}), "the content type is text/html"),
        (replace(answer, headers={"content-type": "text/plain"}), "the content type is text/plain"),
        (replace(answer, headers={"content-type": "\xff/\x01;"}), "the content type is garbage"),
        (replace(answer, headers=unlabelled), "the content type is missing"),
        (
            replace(answer, headers=dict(answer.headers) | {"content-encoding": "gzip"}),
            "it claims to be gzip",
        ),
        (
            replace(
                answer,
                body=gzip.compress(body),
                headers=dict(answer.headers) | {"content-encoding": "gzip"},
            ),
            "it is packed with gzip",
        ),
        (WireAnswer(204, {}, b""), "the status is 204"),
        (
            WireAnswer(302, {"location": "http://[::1"}, b""),
            "it redirects to what is not an address",
        ),
        (
            WireAnswer(status, {"content-type": "application/json"}, encode_json(changed_error)),
            f"the status is {status}, in its error {change}",
        ),
        (replace(answer, status=status), f"the status is {status}"),
    ]
    return Mutated(*random.choice(wholes))


def _mutate_bytes(answer: WireAnswer, random: Random) -> Mutated:
    body = bytearray(answer.body or b"\0")
    changes = []
    for _ in range(random.choice((1, 1, 2, 8))):
        at = random.randrange(len(body))
        body[at] = random.choice((0, 0x0A, 0x7F, 0x80, 0xFF, body[at] ^ 1, body[at] ^ 0x80))
        changes.append(f"byte {at} is {body[at]:#04x}")
    return Mutated(replace(answer, body=bytes(body)), ", ".join(changes))


# -- ML Metadata


def _mutate_message(answer: WireAnswer, random: Random) -> Mutated:
    """Change a field of the message, its frames, its trailers, or any bytes."""
    choice = random.random()
    name = answer.headers["x-message"]
    if choice < 0.15:
        return _mutate_bytes(answer, random)
    if choice < 0.3:
        return _mutate_frames(answer, random)
    try:
        message = mlmd.decode_response(name, answer.body, answer.headers)
    except mlmd.MlmdError:
        return _mutate_bytes(answer, random)
    count = random.choice((1, 1, 1, 2, 4))
    changes = [_mutate_field(random.choice(list(_messages(message))), random) for _ in range(count)]
    return Mutated(replace(answer, body=mlmd.encode_response(message)), ", ".join(changes))


def _mutate_frames(answer: WireAnswer, random: Random) -> Mutated:
    trailer = random.choice(
        (
            b"",
            b"grpc-status:",
            b"grpc-status:x",
            b"grpc-status:-1",
            b"grpc-status:" + b"9" * 5000,
            "grpc-status:٣".encode(),
            "grpc-status:²".encode("latin-1"),
            b"grpc-status:14\r\ngrpc-message:%ff%zz%0d%0a",
            b"grpc-status:5",
            b"\xff\xfe\x00",
            b"grpc-status:0\r\ngrpc-status:13",
        )
    )
    size = int.from_bytes(answer.body[1:5], "big")
    data = answer.body[: 5 + size]
    flag = random.choice((0, 1, 0x80, 0x81, 0xFF))
    length = random.choice((0, 1, size + 1, size - 1 if size else 0, 2**32 - 1))
    framed = bytes([flag]) + length.to_bytes(4, "big") + data[5:] + answer.body[5 + size :]
    choices = [
        (
            data + b"\x80" + len(trailer).to_bytes(4, "big") + trailer,
            f"the trailers are {trailer[:40]!r}",
        ),
        (data, "there are no trailers"),
        (framed, f"the first frame has the flag {flag:#x} and the length {length}"),
        (answer.body[5 + size :], "there is no data"),
        (data + answer.body, "the data is there twice"),
    ]
    body, change = random.choice(choices)
    return Mutated(replace(answer, body=body), change)


def _messages(message: Any) -> Iterator[Any]:
    """Yield a message and all messages inside."""
    yield message
    for field, value in message.ListFields():
        if field.type != field.TYPE_MESSAGE:
            continue
        if field.message_type.GetOptions().map_entry:
            values = [value[key] for key in value]
            yield from (
                inner for item in values if hasattr(item, "ListFields") for inner in _messages(item)
            )
        elif _is_repeated(value):
            yield from (inner for item in value for inner in _messages(item))
        else:
            yield from _messages(value)


def _is_repeated(value: object) -> bool:
    """Whether a field is repeated; a ListValue can append too, and is one message."""
    return hasattr(value, "append") and not hasattr(value, "DESCRIPTOR")


def _mutate_field(message: Any, random: Random) -> str:
    fields = list(message.DESCRIPTOR.fields)
    present = [field for field, _ in message.ListFields()]
    field = random.choice(present if present and random.random() < 0.7 else fields)
    name = f"{message.DESCRIPTOR.name}.{field.name}"
    value = getattr(message, field.name)
    if random.random() < 0.2:
        message.ClearField(field.name)
        return f"{name} is removed"
    if field.type == field.TYPE_MESSAGE:
        if _is_repeated(value) and len(value):
            value.append(random.choice(list(value)))
            return f"an item of {name} is repeated"
        if hasattr(value, "keys") and not hasattr(value, "DESCRIPTOR") and len(value):
            key = random.choice(sorted(value))
            new_key = random.choice((f"{key}x", "", "inputs", "task_name", "list", "a/b"))
            value[new_key].CopyFrom(value[key])
            return f"{name}[{key!r}] is repeated as {new_key!r}"
        message.ClearField(field.name)
        return f"{name} is removed"
    new_value = _scalar(field, random)
    if _is_repeated(value):
        value.append(new_value)
    else:
        setattr(message, field.name, new_value)
    return f"{name} is {_shown(new_value)}"


def _scalar(field: Any, random: Random) -> Any:
    if field.type == field.TYPE_STRING:
        texts = [text for text in (*HOSTILE_TEXTS, *WRONG_TIMES) if text.isascii()]
        return random.choice(texts)
    if field.type == field.TYPE_BOOL:
        return random.choice((True, False))
    if field.type == field.TYPE_DOUBLE:
        return random.choice((0.0, -1.5, 1e308, float("nan"), float("inf"), float("-inf"), 2.0**70))
    if field.type in (field.TYPE_INT32, field.TYPE_ENUM):
        return random.choice(
            (0, -1, 1, 6, 99, 2**31 - 1, -(2**31)) if field.type == field.TYPE_INT32 else (0,)
        )
    return random.choice((0, -1, 1, 2, 2**31, 2**53 + 1, 2**63 - 1, -(2**63)))


def is_message(name: str, body: bytes) -> bool:
    """Whether the bytes are a message of that name."""
    try:
        mlmd.message_class(name)().ParseFromString(body)
    except DecodeError:
        return False
    return True


# -- places in JSON


def _places(value: object, place: Place = ()) -> Iterator[Place]:
    yield place
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _places(item, (*place, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _places(item, (*place, index))


def _at(value: Any, place: Place) -> Any:
    for step in place:
        value = value[step]
    return value


def _dotted(place: Place) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).lstrip(
        "."
    )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text)} characters)"
