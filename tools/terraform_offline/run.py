"""Runs a verb of the real Terraform on a module, with the real providers where they can be had and
stand-ins elsewhere.

    python tools/terraform_offline [--providers auto|real|stand-in] [--cache DIR] [--verbose] DIR
    VERB [argument ...]

The module is worked on in a temporary copy, so that nothing lands in the work tree; only `fmt`
writes in place. README.md says what the stand-ins prove, and what they cannot.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from terraform_offline.cache import WHEELS, Cache
from terraform_offline.errors import OfflineError
from terraform_offline.real import can_be_had
from terraform_offline.tree import (
    copy_tree,
    local_modules,
    providers_named,
    schema_of_used_types,
    texts,
)

VERBS: Final = ("validate", "test", "fmt", "providers", "graph")
PROVIDERS: Final = ("auto", "real", "stand-in")
GOOGLE: Final = "6.50.0, the last one that CDKTF was published for"
PLATFORMS: Final = ("linux_amd64", "linux_arm64", "darwin_amd64", "darwin_arm64")
LONGEST_SOCKET_FOLDER: Final = 80


def main(arguments: list[str]) -> int:
    """Terraform's exit code; 2 when it was not run."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python tools/terraform_offline", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--providers", choices=PROVIDERS, default=os.environ.get("TERRAFORM_PROVIDERS", "auto")
    )
    parser.add_argument("--cache", type=Path, default=default_cache(), metavar="DIR")
    parser.add_argument(
        "--verbose", action="store_true", help="show what `terraform init` says, too"
    )
    parser.add_argument("module", type=Path, metavar="DIR")
    parser.add_argument("verb", choices=VERBS, metavar="VERB", help=", ".join(VERBS))
    parser.add_argument(
        "arguments", nargs=argparse.REMAINDER, help="handed to Terraform as they are"
    )
    return parser


def default_cache() -> Path:
    """The folder, outside of the repository, for what is made once."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "terraform-offline"


def run(
    module: Path,
    verb: str,
    arguments: list[str],
    cache: Path,
    providers: str = "auto",
    *,
    verbose: bool = False,
) -> int:
    """Terraform's exit code; its output goes where this process's goes. `init` is heard only when
    it fails.

    Raises:
        OfflineError: there is no Terraform, no such folder, or nothing to make a stand-in of.
    """
    module = module.resolve()
    if not module.is_dir():
        raise OfflineError(f"{module} is no folder")
    terraform = shutil.which("terraform")
    if terraform is None:
        raise OfflineError(
            "there is no terraform on the PATH; install 1.7 or newer (mock_provider needs it)"
        )
    environment = _environment()
    if verb == "fmt":
        return _code(subprocess.run([terraform, verb, *arguments], cwd=module, env=environment))
    modules = local_modules(module)
    with _work_folder() as work:
        copy = copy_tree(module, modules, work / "tree")
        command = [terraform, verb, *arguments]
        if providers == "real" or (
            providers == "auto" and can_be_had(terraform, environment, cache)
        ):
            real = environment | _plugin_cache(cache.absolute())
            with (cache / "plugins.lock").open("w") as lock:
                fcntl.flock(
                    lock, fcntl.LOCK_EX
                )  # Terraform says that two may not fill its cache at once
                code = _init(terraform, copy, real, verbose, arguments)
            if providers == "real" or not code:
                return code or _code(subprocess.run(command, cwd=copy, env=real))
            print(
                "offline: a registry answered, but gave no providers; with stand-ins now",
                file=sys.stderr,
            )
            shutil.rmtree(copy / ".terraform", ignore_errors=True)
        with _stand_ins(
            work, Cache(cache.absolute()), "\n".join(texts(modules)), environment
        ) as reattach:
            code = _init(terraform, copy, environment, verbose, arguments)
            environment["TF_REATTACH_PROVIDERS"] = reattach
            return code or _code(subprocess.run(command, cwd=copy, env=environment))


def _environment() -> dict[str, str]:
    """This process's environment without what would point Terraform at other settings, folders or
    providers."""
    ours = ("TF_CLI_", "TF_DATA_DIR", "TF_PLUGIN_CACHE", "TF_REATTACH_", "TF_WORKSPACE", "TF_VAR_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"TF_CLI_CONFIG_FILE": os.devnull, "CHECKPOINT_DISABLE": "1"}


def _plugin_cache(cache: Path) -> dict[str, str]:
    folder = cache / "plugins"
    folder.mkdir(parents=True, exist_ok=True)
    return {
        "TF_PLUGIN_CACHE_DIR": str(folder),
        "TF_PLUGIN_CACHE_MAY_BREAK_DEPENDENCY_LOCK_FILE": "1",
    }


def _code(done: subprocess.CompletedProcess[Any]) -> int:
    return done.returncode if done.returncode >= 0 else 128 - done.returncode


def _init(
    terraform: str, copy: Path, environment: dict[str, str], verbose: bool, arguments: list[str]
) -> int:
    command = [terraform, "init", "-backend=false", "-input=false"]
    if "-no-color" in arguments or not sys.stderr.isatty():
        command.append("-no-color")
    pipe = sys.stderr if verbose else subprocess.PIPE  # standard output is the verb's
    done = subprocess.run(
        command, cwd=copy, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        said = done.stdout or ""
        sys.stderr.write(said)
        if "provider packages" in said:
            known = ", ".join(WHEELS)
            print(
                f"offline: there are stand-ins for hashicorp/: {known}; google is {GOOGLE}",
                file=sys.stderr,
            )
    return _code(done)


@contextlib.contextmanager
def _work_folder() -> Iterator[Path]:
    """A temporary folder whose path is short enough for a socket to lie in it."""
    parent = tempfile.gettempdir()
    short = parent if len(parent) <= LONGEST_SOCKET_FOLDER else "/tmp"  # noqa: S108
    with tempfile.TemporaryDirectory(prefix="terraform-offline-", dir=short) as folder:
        yield Path(folder).resolve()


@contextlib.contextmanager
def _stand_ins(work: Path, cache: Cache, text: str, environment: dict[str, str]) -> Iterator[str]:
    """The value of TF_REATTACH_PROVIDERS that leads to stand-ins, which run until the end of the
    block."""
    providers = providers_named(text)
    cache.fill(providers)
    schema = schema_of_used_types({name: cache.schema_path(name) for name in providers}, text)
    environment["TF_CLI_CONFIG_FILE"] = str(_lay_mirror(work, schema["provider_versions"]))
    with _stub(cache.python, work, schema) as reattach:
        yield reattach


def _lay_mirror(work: Path, versions: dict[str, str]) -> Path:
    """The CLI configuration that names a folder which `terraform init` takes providers from."""
    for address, version in versions.items():
        for platform in PLATFORMS:
            folder = work / "mirror" / address / version / platform
            folder.mkdir(parents=True)
            stand_in = folder / f"terraform-provider-{address.rpartition('/')[2]}_v{version}"
            stand_in.write_text(
                "#!/bin/sh\necho 'a stand-in: run it by tools/terraform_offline' >&2\nexit 1\n"
            )
            stand_in.chmod(0o755)
    configuration = work / "terraform.rc"
    path = json.dumps(str(work / "mirror"))
    configuration.write_text(
        f"provider_installation {{\n  filesystem_mirror {{\n    path = {path}\n  }}\n}}\n"
    )
    return configuration


@contextlib.contextmanager
def _stub(python: Path, work: Path, schema: dict[str, Any]) -> Iterator[str]:
    """What the process that plays all providers says of itself; it ends with the block."""
    schema_path, log_path = work / "schema.json", work / "stub.log"
    schema_path.write_text(json.dumps(schema), encoding="utf-8")
    command: list[Path | str] = [
        python,
        "-I",
        Path(__file__).with_name("stub.py"),
        schema_path,
        work,
    ]
    with log_path.open("w") as log:
        stub = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
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
        stub.stdin.close()  # which is its sign to end
        try:
            stub.wait(timeout=10)
        except subprocess.TimeoutExpired:
            stub.kill()
            stub.wait()
        stub.stdout.close()
