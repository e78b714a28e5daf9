"""Send a message to a webhook."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from kfgcp_components.messages import one_line

# The body that a service expects.
FORMATS = ("json", "slack")

# Seconds between attempts: 1, 2, 4, … up to the last value.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0

# Slack cuts messages after 40,000 characters. A longer text is not for people.
MAX_TEXT = 30_000


@dataclass(frozen=True)
class Message:
    """A message for a webhook.

    Attributes:
        text: the text for people.
        facts: what a program wants to know. Only the format `json` sends it.
    """

    text: str
    facts: Mapping[str, object] = field(default_factory=dict)

    def body(self, format: str) -> bytes:
        """Return the body of the request."""
        text = self.text if len(self.text) <= MAX_TEXT else self.text[: MAX_TEXT - 1] + "…"
        if format == "slack":
            # Slack reads these three characters as markup.
            escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            return json.dumps({"text": escaped}).encode()
        return json.dumps({"text": text, **self.facts}, sort_keys=True).encode()


class WebhookError(ValueError):
    """The webhook has no valid URL, was not reached, or refuses the message.

    The text is one line, without the URL.
    """


def send(
    url: str,
    message: Message,
    *,
    format: str = "json",
    timeout: float = 60.0,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Send a message, and try again while the service is not ready.

    Each attempt has the same header `Idempotency-Key`, so the receiver can ignore a repetition.

    Args:
        url: the URL of the webhook, or `env:NAME` for the URL in an environment variable.
        message: the message.
        format: one of FORMATS.
        timeout: seconds for all attempts together.
        sleep: waits a number of seconds. Tests replace it.
        clock: returns the time in seconds, from any start. Tests replace it.

    Raises:
        WebhookError: the URL is invalid, or the message was not delivered.
        ValueError: another argument is invalid.
    """
    address = read_url(url)
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {format!r}")
    if not timeout > 0:
        raise ValueError(f"timeout must be a positive number of seconds, not {timeout}")
    body = message.body(format)
    key = hashlib.sha256(body).hexdigest()
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    request = Request(address, data=body, headers=headers, method="POST")  # noqa: S310 - checked by read_url
    host = urlsplit(address).hostname
    deadline = clock() + timeout
    pause = FIRST_PAUSE
    while True:
        problem, retry_after = _attempt(request, max(deadline - clock(), 0.1))
        if not problem:
            return
        wait = pause if retry_after is None else retry_after
        if retry_after == NEVER or clock() + wait >= deadline:
            raise WebhookError(f"the webhook at {host} did not take the message: {problem}")
        sleep(wait)
        pause = min(2 * pause, LONGEST_PAUSE)


def read_url(url: str) -> str:
    """Return the URL of a webhook.

    Raises:
        WebhookError: the variable is not set, or the text is not an http or https URL. The message
            does not contain the URL, because the URL of a webhook is a secret.
    """
    name = url.removeprefix("env:")
    if name != url:
        if not os.environ.get(name):
            raise WebhookError(f"the environment variable {name} for the webhook is not set")
        url = os.environ[name]
    try:
        parts = urlsplit(url)
    except ValueError:
        # The message of this error can contain the user and the password.
        raise WebhookError("the URL of the webhook has a wrong host; copy it again") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise WebhookError("the URL of the webhook must begin with https://HOST or http://HOST")
    if not url.isascii():
        # RFC 3986: a URL has only ASCII characters. http.client cannot send others.
        host = one_line(ascii(parts.hostname), 80)
        raise WebhookError(
            f"the URL of the webhook at {host} has a character that is not ASCII; write %XX for it"
            " in the path, and xn--… in the host"
        )
    # http.client would put the wrong part of the URL into its error.
    has_wrong_character = any(char.isspace() or not char.isprintable() for char in url)
    try:
        parts.port  # noqa: B018 - the property raises an error for a wrong port
    except ValueError:
        has_wrong_character = True
    if has_wrong_character or "@" in parts.netloc:
        raise WebhookError(
            "the URL of the webhook has a space, a user or a wrong port; copy it again"
        )
    return url


# The pause after which a request makes no sense: the service refuses it for good.
NEVER = -1.0


def _attempt(request: Request, seconds: float) -> tuple[str, float | None]:
    """Send a request once.

    Returns:
        The problem, which is empty after a success. And the seconds that the service wants the
        client to wait, None when it does not say, NEVER when another attempt makes no sense.
    """
    try:
        with build_opener(_NoRedirect).open(request, timeout=seconds):
            return "", None
    except HTTPError as error:
        with error:
            problem = f"status {error.code} {one_line(error.reason, 80)}"
            # 408, 429 and 5xx ask for another attempt. Other refusals are final.
            if error.code not in (408, 429) and error.code < 500:
                return problem, NEVER
            return problem, _read_retry_after(error.headers.get("Retry-After"))
    except (URLError, HTTPException, OSError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        return one_line(reason, 120), None
    except UnicodeError:
        # The codec idna of Python refuses such names: RFC 1035, section 2.3.4.
        return "its host has an empty part, or a part of more than 63 characters", NEVER


def _read_retry_after(text: str | None) -> float | None:
    """Return the seconds of a header Retry-After, or None. A date is not supported."""
    if text is None or not text.strip().isdecimal():
        return None
    return float(text)


class _NoRedirect(HTTPRedirectHandler):
    """Refuses redirects: another host must not get the message."""

    # The signature of the standard library.
    def redirect_request(self, *arguments: object, **options: object) -> None:
        return None
