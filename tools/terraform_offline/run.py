"""Run a verb of the real Terraform on a module, with real providers or with stand-ins.

    python tools/terraform_offline [--providers auto|real|stand-in] [--cache DIR] [--verbose] DIR
    VERB [argument ...]

Terraform works on a temporary copy of the module, so nothing is written into the work tree. Only
`fmt` writes in place. README.md says what the stand-ins prove, and what they cannot prove.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

from terraform_offline.cache import WHEELS, Cache
from terraform_offline.errors import OfflineError
from terraform_offline.real import registry_answers
from terraform_offline.tree import (
    copy_tree,
    find_local_modules,
    find_providers,
    read_texts,
    select_schemas,
)

VERBS: Final = ("validate", "test", "fmt", "providers", "graph")
PROVIDERS: Final = ("auto", "real", "stand-in")
GOOGLE_VERSION: Final = "6.50.0, the last one that CDKTF was published for"

# `terraform init` looks only for the platform that it runs on, which may be any of these.
PLATFORMS: Final = ("linux_amd64", "linux_arm64", "darwin_amd64", "darwin_arm64")

# The path of a Unix socket has at most 103 characters on macOS. This leaves room for our names.
MAX_SOCKET_FOLDER_LENGTH: Final = 80

Environment = dict[str, str]


@dataclass(frozen=True)
class _Call:
    """One call of Terraform: the program, what it does, and where."""

    terraform: str
    verb: str
    arguments: Sequence[str]
    folder: Path
    verbose: bool

    def run(self, environment: Environment) -> int:
        """Run the verb, and return its exit code. Its output is that of this process."""
        command = [self.terraform, self.verb, *self.arguments]
        return _exit_code(subprocess.run(command, cwd=self.folder, env=environment))

    def init(self, environment: Environment) -> int:
        """Run `terraform init`, and return its exit code. It prints only when it fails."""
        command = [self.terraform, "init", "-backend=false", "-input=false"]
        if "-no-color" in self.arguments or not sys.stderr.isatty():
            command.append("-no-color")
        # Standard output is for the verb.
        pipe = sys.stderr if self.verbose else subprocess.PIPE
        process = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            stdout=pipe,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if process.returncode:
            output = process.stdout or ""
            sys.stderr.write(output)
            # Terraform prints these words when it does not find a provider.
            if "provider packages" in output:
                print(
                    f"offline: there are stand-ins for hashicorp/: {', '.join(WHEELS)}; google is"
                    f" {GOOGLE_VERSION}",
                    file=sys.stderr,
                )
        return _exit_code(process)


def main(arguments: list[str]) -> int:
    """Return the exit code of Terraform, or 2 when it did not run."""
    options = _build_parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _exit_on_signal)
    try:
        return run(
            options.module,
            options.verb,
            options.arguments,
            options.cache,
            options.providers,
            verbose=options.verbose,
        )
    except OfflineError as error:
        print(f"offline: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def default_cache() -> Path:
    """Return the folder for the cache. It is outside of the repository."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "terraform-offline"


def run(
    module: Path,
    verb: str,
    arguments: Sequence[str],
    cache: Path,
    providers: str = "auto",
    *,
    verbose: bool = False,
) -> int:
    """Run a verb of Terraform, and return its exit code.

    Args:
        module: the folder of the module.
        verb: one of VERBS.
        arguments: passed to Terraform as they are.
        cache: the folder of the cache.
        providers: one of PROVIDERS. "auto" uses stand-ins when no registry answers.
        verbose: show the output of `terraform init` also when it succeeds.

    Raises:
        OfflineError: Terraform or the folder of the module is missing, or a stand-in cannot be
            made.
    """
    module = module.resolve()
    if not module.is_dir():
        raise OfflineError(f"{module} is not a folder")
    terraform = shutil.which("terraform")
    if terraform is None:
        raise OfflineError(
            "there is no terraform on the PATH; install 1.7 or newer (mock_provider needs it)"
        )
    environment = _clean_environment()
    if verb == "fmt":
        return _Call(terraform, verb, arguments, module, verbose).run(environment)
    modules = find_local_modules(module)
    with _work_folder() as work:
        copy = copy_tree(module, modules, work / "tree")
        call = _Call(terraform, verb, arguments, copy, verbose)
        is_real = providers == "real"
        if providers == "auto":
            is_real = registry_answers(terraform, environment, cache)
        if is_real:
            real_environment = environment | _plugin_cache(cache.absolute())
            code = _init_with_real_providers(call, real_environment, cache)
            if code == 0:
                return call.run(real_environment)
            if providers == "real":
                return code
            print(
                "offline: a registry answered, but gave no providers; using stand-ins instead",
                file=sys.stderr,
            )
            shutil.rmtree(copy / ".terraform", ignore_errors=True)
        text = "\n".join(read_texts(modules))
        with _serve_stand_ins(work, Cache(cache.absolute()), text) as stand_ins:
            environment["TF_CLI_CONFIG_FILE"] = str(stand_ins.cli_configuration)
            code = call.init(environment)
            if code:
                return code
            # This comes after `terraform init`, which skips the providers that this variable names.
            environment["TF_REATTACH_PROVIDERS"] = stand_ins.reattach
            return call.run(environment)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python tools/terraform_offline", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--providers", choices=PROVIDERS, default=os.environ.get("TERRAFORM_PROVIDERS", "auto")
    )
    parser.add_argument("--cache", type=Path, default=default_cache(), metavar="DIR")
    parser.add_argument(
        "--verbose", action="store_true", help="show the output of `terraform init`, too"
    )
    parser.add_argument("module", type=Path, metavar="DIR")
    parser.add_argument("verb", choices=VERBS, metavar="VERB", help=", ".join(VERBS))
    parser.add_argument(
        "arguments", nargs=argparse.REMAINDER, help="passed to Terraform as they are"
    )
    return parser


def _exit_on_signal(number: int, frame: FrameType | None) -> None:
    """Exit as after an error, so that `finally` and `with` remove the temporary folders."""
    raise SystemExit(128 + number)


def _clean_environment() -> Environment:
    """Return the variables of this process without those that change what Terraform does."""
    prefixes = (
        "TF_CLI_",
        "TF_DATA_DIR",
        "TF_PLUGIN_CACHE",
        "TF_REATTACH_",
        "TF_WORKSPACE",
        "TF_VAR_",
    )
    all_variables = os.environ.items()
    variables = {name: value for name, value in all_variables if not name.startswith(prefixes)}
    variables["TF_CLI_CONFIG_FILE"] = os.devnull
    # Terraform would ask a server of HashiCorp for news.
    variables["CHECKPOINT_DISABLE"] = "1"
    return variables


def _exit_code(
    process: subprocess.CompletedProcess[str] | subprocess.CompletedProcess[bytes],
) -> int:
    """Return an exit code as in a shell: 128 plus the signal for a process that was killed."""
    if process.returncode < 0:
        # Python gives the negative number of the signal.
        return 128 - process.returncode
    return process.returncode


@contextlib.contextmanager
def _work_folder() -> Iterator[Path]:
    """Yield a temporary folder with a path that is short enough for sockets."""
    parent = tempfile.gettempdir()
    if len(parent) > MAX_SOCKET_FOLDER_LENGTH:
        parent = "/tmp"  # noqa: S108
    with tempfile.TemporaryDirectory(prefix="terraform-offline-", dir=parent) as folder:
        yield Path(folder).resolve()


def _plugin_cache(cache: Path) -> Environment:
    """Return the variables that make Terraform keep the providers that it downloads."""
    folder = cache / "plugins"
    folder.mkdir(parents=True, exist_ok=True)
    return {
        "TF_PLUGIN_CACHE_DIR": str(folder),
        # Without it Terraform downloads a provider again for each module without a lock file.
        "TF_PLUGIN_CACHE_MAY_BREAK_DEPENDENCY_LOCK_FILE": "1",
    }


def _init_with_real_providers(call: _Call, environment: Environment, cache: Path) -> int:
    with (cache / "plugins.lock").open("w") as lock:
        # Terraform documents that only one process at a time may fill its cache of plugins.
        fcntl.flock(lock, fcntl.LOCK_EX)
        return call.init(environment)


@dataclass(frozen=True)
class _StandIns:
    """How Terraform finds the stand-ins.

    Attributes:
        cli_configuration: the configuration file of the command line, for `terraform init`.
        reattach: the value of TF_REATTACH_PROVIDERS, for the verb.
    """

    cli_configuration: Path
    reattach: str


@contextlib.contextmanager
def _serve_stand_ins(work: Path, cache: Cache, text: str) -> Iterator[_StandIns]:
    """Serve stand-ins of the providers that a text uses until the end of the block."""
    providers = find_providers(text)
    cache.fill(providers)
    files = {name: cache.schema_path(name) for name in providers}
    schema = select_schemas(files, text)
    cli_configuration = _write_mirror(work, schema["provider_versions"])
    with _run_stub(cache.python, work, schema) as reattach:
        yield _StandIns(cli_configuration, reattach)


def _write_mirror(work: Path, versions: dict[str, str]) -> Path:
    """Write a folder of providers for `terraform init`, and return the configuration that names it.

    The providers are programs that only fail. Terraform starts none of them, because
    TF_REATTACH_PROVIDERS names running ones.
    """
    for address, version in versions.items():
        for platform in PLATFORMS:
            folder = work / "mirror" / address / version / platform
            folder.mkdir(parents=True)
            program = folder / f"terraform-provider-{address.rpartition('/')[2]}_v{version}"
            program.write_text(
                "#!/bin/sh\necho 'a stand-in: run it with tools/terraform_offline' >&2\nexit 1\n"
            )
            program.chmod(0o755)
    configuration = work / "terraform.rc"
    path = json.dumps(str(work / "mirror"))
    configuration.write_text(
        f"provider_installation {{\n  filesystem_mirror {{\n    path = {path}\n  }}\n}}\n"
    )
    return configuration


@contextlib.contextmanager
def _run_stub(python: Path, work: Path, schema: dict[str, Any]) -> Iterator[str]:
    """Run the process that serves all providers, and yield the value of TF_REATTACH_PROVIDERS."""
    schema_path = work / "schema.json"
    log_path = work / "stub.log"
    schema_path.write_text(json.dumps(schema), encoding="utf-8")
    program = Path(__file__).with_name("stub.py")
    with log_path.open("w") as log:
        stub = subprocess.Popen(
            [python, "-I", program, schema_path, work],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            # A Ctrl-C in the terminal must not end the stand-ins before Terraform has ended.
            start_new_session=True,
        )
    assert stub.stdin is not None
    assert stub.stdout is not None
    try:
        reattach = stub.stdout.readline()
        if not reattach:
            raise OfflineError(f"the stand-in did not start:\n{log_path.read_text()}")
        yield reattach
    finally:
        # The process ends when its standard input is closed.
        stub.stdin.close()
        try:
            stub.wait(timeout=10)
        except subprocess.TimeoutExpired:
            stub.kill()
            stub.wait()
        stub.stdout.close()
