"""Rules about secrets, and about code that others can change.

A message never contains the secret itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from kfgcp.rules.contexts import ComponentContext, PipelineContext
from kfgcp.rules.findings import Located, Match, Part, Severity
from kfgcp.rules.patterns import LazyPattern
from kfgcp.rules.rule import Target, component_rule, pipeline_rule
from kfgcp.rules.written_texts import Origin, written_texts
from kfgcp.spec.credentials import has_password

# Shapes of tokens that their services document: a text that each of them contains, the shape, and
# what it is. Most texts contain none of the first texts, and looking for these is fast.
_TOKENS: Final = tuple(
    (marker, LazyPattern(shape), kind)
    for marker, shape, kind in (
        ("AKIA", r"\bAKIA[A-Z0-9]{16}\b", "an access key of AWS"),
        ("ASIA", r"\bASIA[A-Z0-9]{16}\b", "an access key of AWS"),
        ("ghp_", r"\bghp_[A-Za-z0-9]{36,}", "a token of GitHub"),
        ("gho_", r"\bgho_[A-Za-z0-9]{36,}", "a token of GitHub"),
        ("ghs_", r"\bghs_[A-Za-z0-9]{36,}", "a token of GitHub"),
        ("github_pat_", r"\bgithub_pat_[A-Za-z0-9_]{60,}", "a token of GitHub"),
        ("glpat-", r"\bglpat-[A-Za-z0-9_-]{20,}", "a token of GitLab"),
        ("AIza", r"\bAIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])", "an API key of Google"),
        ("hf_", r"\bhf_[A-Za-z0-9]{34}\b", "a token of Hugging Face"),
        ("xox", r"\bxox[abprs]-[A-Za-z0-9-]{20,}", "a token of Slack"),
        ("pypi-", r"\bpypi-[A-Za-z0-9_-]{80,}", "a token of PyPI"),
        (
            "PRIVATE KEY-----",
            # In JSON, the end of the line is written as a backslash and an n.
            r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----(?:\s|\\n)*[A-Za-z0-9+/]{16}",
            "a private key",
        ),
    )
)

# Names of variables and inputs that hold secrets. `TOKEN_URL` and `SECRET_NAME` do not.
_SECRET_VARIABLE: Final = LazyPattern(
    r"(?:\A|_)(?:PASSWORD|PASSWD|SECRET|SECRET_?KEY|TOKEN|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY)\Z",
    re.IGNORECASE,
)
_SECRET_INPUT: Final = LazyPattern(
    r"(?:\A|_|-)(?:password|passwd|client_secret|secret_key|api_?key|access_key|private_key"
    r"|(?:auth|access|api|bearer|refresh)_token)\Z",
    re.IGNORECASE,
)

# What stands for a secret without being one: a reference, an address, a path, a switch.
_NOT_A_SECRET: Final = LazyPattern(
    r"\s*\Z|.*(?:\{\{|\$\{|\$\()|projects/|secret:|[a-z][a-z0-9+.-]*://|[/<$]"
    r"|(?:true|false|none|null|yes|no|\d+)\Z",
    re.IGNORECASE | re.DOTALL,
)

# `scheme://user:password@host`. Braces, `$`, `<` and `%s` are the marks of templates.
_URL_PASSWORD: Final = LazyPattern(
    r"\b[a-zA-Z][a-zA-Z0-9+.-]{1,20}://[^\s/:@'\"{}$<>%]{0,64}:(?!\*+@|%s|%\()[^\s/@'\"{}$<>]{1,128}"
    r"@[A-Za-z0-9\[]"
)
_PIPE_TO_SHELL: Final = LazyPattern(
    r"\b(?:curl|wget)\b[^|\n;&]{0,500}\|\s*(?:sudo\s+(?:-\w+\s+)*)?(?:ba|z|da)?sh\b"
)
_PLAIN_HTTP: Final = LazyPattern(r"(?:\A|[\s+@])http://(?!(?:localhost|127\.|\[::1\]))")


# -- secrets


@component_rule(
    "Y101",
    Severity.WARNING,
    "{component} has a password in the address of a package or of a package index",
    hint="Read the password from a secret when the task runs.",
)
def password_in_index(context: ComponentContext, target: Target) -> Match:
    """The PipelineSpec is stored by every backend, and shown to everyone who may see the run."""
    if context.lightweight is None:
        return False
    addresses = context.lightweight.index_options + context.lightweight.requirements
    return any("://" in address and has_password(address) for address in addresses)


@pipeline_rule(
    "Y102",
    Severity.WARNING,
    "{where} contains {kind}",
    hint="Revoke the password, token or key, and read a new one from a secret when the task runs.",
)
def known_token(pipeline: PipelineContext, target: Target) -> Iterator[Match]:
    """The PipelineSpec is stored by every backend, and shown to everyone who may see the run. The
    shapes are those that the services document for their secret scanning."""
    for text in written_texts(pipeline):
        kind = _find_token(text.text)
        if kind:
            yield text.locate(kind=kind)
    for component in pipeline.components:
        for word in _words(component):
            kind = _find_token(word)
            if kind:
                yield _locate_command(component, kind=kind)
                break


def _find_token(text: str) -> str:
    """Return the kind of the first token in a text, "" without one."""
    # No token is shorter.
    if len(text) < 20:
        return ""
    for marker, shape, kind in _TOKENS:
        if marker not in text:
            continue
        for match in shape.finditer(text):
            # Documents use keys such as AKIAIOSFODNN7EXAMPLE.
            if "EXAMPLE" not in match[0]:
                return kind
    return ""


@pipeline_rule(
    "Y103",
    Severity.WARNING,
    "{where} has a name like a secret, but its value is plain text",
    hint="Ask for a secret: set_env_variable(NAME, 'secret:NAME'), see docs/guides/portable.md.",
)
def secret_in_plain_text(pipeline: PipelineContext, target: Target) -> Iterator[Match]:
    """The PipelineSpec is stored by every backend, and shown to everyone who may see the run."""
    for text in written_texts(pipeline):
        pattern = _SECRET_VARIABLE if text.origin is Origin.VARIABLE else _SECRET_INPUT
        if pattern.search(text.name) and not _NOT_A_SECRET.match(text.text):
            yield text.locate()


@pipeline_rule(
    "Y104",
    Severity.WARNING,
    "{where} contains an address with a password",
    hint="Read the password from a secret when the task runs.",
)
def password_in_address(pipeline: PipelineContext, target: Target) -> Iterator[Match]:
    """The PipelineSpec is stored by every backend, and shown to everyone who may see the run (RFC
    3986, userinfo)."""
    for text in written_texts(pipeline):
        if "://" in text.text and _URL_PASSWORD.search(text.text):
            yield text.locate()
    for component in pipeline.components:
        if any("://" in word and _URL_PASSWORD.search(word) for word in _words(component)):
            yield _locate_command(component)


# -- code that others can change


@component_rule(
    "Y110",
    Severity.WARNING,
    "{component} installs packages and does not check which server sends them: {option}",
    hint="Use an index with https and a valid certificate, without pip_trusted_hosts.",
)
def untrusted_index(context: ComponentContext, target: Target) -> Match:
    """With http or --trusted-host, pip accepts packages from everyone on the network path (the
    documentation of pip, --trusted-host)."""
    if context.lightweight is None:
        return False
    for option in context.lightweight.index_options:
        # Older compilers of KFP write the whole address of an index here, which matches no host.
        if option.startswith("--trusted-host") and "://" not in option:
            return {"option": "--trusted-host"}
        if _PLAIN_HTTP.search(option):
            return {"option": "an index with http"}
    return False


@component_rule(
    "Y111",
    Severity.WARNING,
    "{component} downloads a script and runs it at once: {program} ... | sh",
    hint="Put the program into the image, or compare the checksum of the script before you run it.",
)
def pipe_to_shell(context: ComponentContext, target: Target) -> Match:
    """The one who can change the file at the address runs code with the permissions of the task."""
    for word in _words(context):
        match = _PIPE_TO_SHELL.search(word) if "|" in word else None
        if match is not None:
            return {"program": match[0].split()[0]}
    return False


@pipeline_rule(
    "Y112",
    Severity.WARNING,
    "{where} uses plain http: anybody on the network path can change the data",
    hint="Use an https address.",
)
def plain_http(pipeline: PipelineContext, target: Target) -> Iterator[Match]:
    """HTTP without TLS protects no content (RFC 9110, section 17)."""
    for text in written_texts(pipeline):
        if text.origin is Origin.IMPORTED and _PLAIN_HTTP.match(text.text):
            yield text.locate()
    for component in pipeline.components:
        lightweight = component.lightweight
        requirements = lightweight.requirements if lightweight is not None else ()
        if any(_PLAIN_HTTP.search(requirement) for requirement in requirements):
            name = component.component.name
            where = f"a package of component {name.removeprefix('comp-')}"
            yield Located({"where": where}, Part.COMPONENT, component.task, name)


# -- shared by several rules


def _words(context: ComponentContext) -> tuple[str, ...]:
    """Return the words that the author of a component wrote: its source, or its whole command."""
    if context.container is None:
        return ()
    if context.lightweight is not None:
        # The rest is written by KFP. Y101 and Y110 look at the packages in it.
        return (context.lightweight.source,)
    return context.container.words


def _locate_command(context: ComponentContext, **values: str) -> Located:
    name = context.component.name
    where = f"the command of component {name.removeprefix('comp-')}"
    return Located({"where": where, **values}, Part.COMPONENT, context.task, name)
