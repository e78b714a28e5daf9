"""Compare the speed of two versions of the project, by the CPU time of whole process trees.

    .venv/bin/python benchmarks/compare.py A B [--only NAME] [--rounds N] [--limit PERCENT] [--json]

A and B are folders of checkouts, each with its own .venv, or revisions of the current git
repository. A revision gets a worktree and an environment in a temporary folder, which are removed
at the end. benchmarks/README.md says what the figures mean.

Exit codes: 0, 1 when the comparison cannot be made, 2 for wrong arguments, 4 when a median ratio is
above --limit.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from checkouts import CannotCompare, Checkout, open_checkout, python_facts
from process_tree import CommandFailed, Usage
from startup import machine
from workloads import WORKLOADS, Side, Workload, prepare_sides, run_once

MIN_ROUNDS = 11

# The exit code when a median ratio is above --limit.
ABOVE_LIMIT = 4

# The share of rounds that must agree before a difference is called clear. When two versions are
# equal, 10 of 11 rounds agree by chance in one of 85 comparisons.
CLEAR_SHARE = 0.9

# When the rounds do not agree, and the distance between the quartiles is larger than this, the
# table says that the spread is too wide.
MAX_SPREAD = 0.10


@dataclass(frozen=True)
class Pair:
    """What A and B used in one round."""

    a: Usage
    b: Usage

    @property
    def ratio(self) -> float:
        """The CPU time of B divided by the CPU time of A."""
        return self.b.cpu_seconds / self.a.cpu_seconds


@dataclass(frozen=True)
class Comparison:
    """All counted rounds of one workload."""

    workload: Workload
    pairs: Sequence[Pair]

    @property
    def ratios(self) -> list[float]:
        return [pair.ratio for pair in self.pairs]

    @property
    def median(self) -> float:
        """The median of the ratios of all rounds."""
        return statistics.median(self.ratios)

    @property
    def quartiles(self) -> tuple[float, float]:
        low, _, high = statistics.quantiles(self.ratios, n=4, method="inclusive")
        return low, high

    @property
    def counts_orphans(self) -> bool:
        """Whether the figures contain processes that outlived their parents."""
        return all(pair.a.counts_orphans for pair in self.pairs)

    def share(self, condition: Callable[[float], bool]) -> float:
        """Return the share of the ratios, from 0 to 1, for which a condition is true."""
        return sum(map(condition, self.ratios)) / len(self.ratios)

    def is_above(self, limit: float | None) -> bool:
        """Return whether B needs more than `limit` percent more than A; False without a limit."""
        return limit is not None and self.median > 1 + limit / 100

    def in_words(self, limit: float | None) -> str:
        """Return what the figures mean, in a few words."""
        low, high = self.quartiles
        if limit is not None:
            words = "above the limit" if self.is_above(limit) else "within the limit"
            if low <= 1 + limit / 100 <= high:
                words += ", but the spread is too wide to tell"
            return words
        if self.share(lambda ratio: ratio > 1) >= CLEAR_SHARE:
            return "B needs more"
        if self.share(lambda ratio: ratio < 1) >= CLEAR_SHARE:
            return "B needs less"
        if high - low > MAX_SPREAD:
            return "the spread is too wide to tell"
        return "no clear difference"

    def to_dict(self, limit: float | None) -> dict[str, object]:
        """Return the figures for --json."""
        return {
            "workload": self.workload.name,
            "title": self.workload.title,
            "median": self.median,
            "quartiles": self.quartiles,
            "range": [min(self.ratios), max(self.ratios)],
            "in_words": self.in_words(limit),
            "above_limit": self.is_above(limit),
            "cpu_seconds": {"a": median_cpu(self.pairs, "a"), "b": median_cpu(self.pairs, "b")},
            "wall_seconds": {"a": median_wall(self.pairs, "a"), "b": median_wall(self.pairs, "b")},
            "counts_orphans": self.counts_orphans,
            "ratios": self.ratios,
        }


def main() -> int:
    """Run the command line and return its exit code."""
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, exit_on_signal)
    try:
        comparisons = compare(arguments.a, arguments.b, arguments.only, arguments.rounds)
    except (CannotCompare, CommandFailed) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    if arguments.json:
        print_json(comparisons, arguments)
    else:
        print_table(comparisons, arguments)
    is_above = any(comparison.is_above(arguments.limit) for comparison in comparisons)
    return ABOVE_LIMIT if is_above else 0


def parse_arguments() -> argparse.Namespace:
    """Return the arguments. Wrong arguments end the process with exit code 2."""
    workloads = {workload.name: workload for workload in WORKLOADS}
    rows = "\n".join(f"  {workload.name:12} {workload.title}" for workload in WORKLOADS)
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        epilog=f"workloads:\n{rows}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "a", metavar="A", help="a checkout or a git revision, the base of the ratios"
    )
    parser.add_argument("b", metavar="B", help="the version that is compared with A")
    parser.add_argument(
        "--only", metavar="NAME", action="append", help="only this workload; may be repeated"
    )
    parser.add_argument(
        "--rounds", type=int, default=MIN_ROUNDS, help=f"rounds that count (default: {MIN_ROUNDS})"
    )
    parser.add_argument(
        "--limit",
        type=float,
        metavar="PERCENT",
        help="exit with 4 when B needs this much more than A",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    if arguments.rounds < MIN_ROUNDS:
        parser.error(
            f"--rounds must be at least {MIN_ROUNDS}: with fewer rounds a difference may be chance"
        )
    chosen_names = arguments.only or list(workloads)
    unknown = set(chosen_names) - set(workloads)
    if unknown:
        parser.error(
            f"unknown workload {', '.join(sorted(unknown))}; choose from {', '.join(workloads)}"
        )
    arguments.only = [workloads[name] for name in chosen_names]
    return arguments


def exit_on_signal(number: int, frame: FrameType | None) -> None:
    """Exit as after an error, so that `finally` and `with` remove worktrees and processes."""
    raise SystemExit(128 + number)


def compare(a: str, b: str, workloads: Sequence[Workload], rounds: int) -> list[Comparison]:
    """Return the comparison of each workload.

    Args:
        a: a folder or a revision, the base of the ratios.
        b: the folder or the revision that is compared with `a`.
        workloads: what to run.
        rounds: rounds that count; one more runs first.

    Raises:
        CannotCompare: a checkout cannot run, or A and B give different answers.
        CommandFailed: a command failed.
    """
    with contextlib.ExitStack() as cleanup:
        temporary = cleanup.enter_context(tempfile.TemporaryDirectory(prefix="kfgcp-bench-"))
        scratch = Path(temporary).resolve()
        checkout_a = cleanup.enter_context(open_checkout(a, scratch / "a"))
        checkout_b = cleanup.enter_context(open_checkout(b, scratch / "b"))
        warn_if_pythons_differ(checkout_a, checkout_b)
        comparisons = []
        for workload in workloads:
            print(f"measuring {workload.name}", file=sys.stderr, flush=True)
            folder = scratch / workload.name
            folder.mkdir()
            pairs = measure_pairs(workload, [checkout_a, checkout_b], rounds, folder)
            comparisons.append(Comparison(workload, pairs))
        return comparisons


def warn_if_pythons_differ(checkout_a: Checkout, checkout_b: Checkout) -> None:
    """Print a warning when A and B run on different versions of Python."""
    _, version_a = python_facts(checkout_a)
    _, version_b = python_facts(checkout_b)
    if version_a != version_b:
        print(
            f"A runs on Python {version_a}, B runs on Python {version_b}."
            " The ratios contain this difference too.",
            file=sys.stderr,
        )


def measure_pairs(
    workload: Workload, checkouts: list[Checkout], rounds: int, folder: Path
) -> list[Pair]:
    """Run a workload alternately on both sides, and return the pairs that count.

    The first round fills caches and does not count. A and B take turns in going first, because the
    first run of a round can make the second run faster.

    Raises:
        CannotCompare: A and B gave different answers.
    """
    pairs = []
    with workload.serve() as config:
        a, b = prepare_sides(workload, config, checkouts, folder)
        for number in range(rounds + 1):
            pair = measure_round(workload, a, b, folder / "project", b_first=number % 2 == 1)
            if workload.answer(pair.a.output) != workload.answer(pair.b.output):
                raise CannotCompare(
                    f"{workload.name}: A and B gave different answers, so they did different work."
                )
            if number:
                pairs.append(pair)
    return pairs


def measure_round(workload: Workload, a: Side, b: Side, project: Path, *, b_first: bool) -> Pair:
    """Run both sides once, one directly after the other."""
    if b_first:
        usage_b = run_once(workload, b, project)
        usage_a = run_once(workload, a, project)
    else:
        usage_a = run_once(workload, a, project)
        usage_b = run_once(workload, b, project)
    return Pair(usage_a, usage_b)


def median_cpu(pairs: Sequence[Pair], side: str) -> float:
    """Return the median CPU seconds of side `a` or `b`."""
    return statistics.median(getattr(pair, side).cpu_seconds for pair in pairs)


def median_wall(pairs: Sequence[Pair], side: str) -> float:
    """Return the median seconds until the command of side `a` or `b` ended."""
    return statistics.median(getattr(pair, side).wall_seconds for pair in pairs)


def print_json(comparisons: Sequence[Comparison], arguments: argparse.Namespace) -> None:
    """Print everything as one JSON object."""
    result = {
        "a": arguments.a,
        "b": arguments.b,
        "rounds": arguments.rounds,
        "limit_percent": arguments.limit,
        "machine": machine(),
        "workloads": [comparison.to_dict(arguments.limit) for comparison in comparisons],
    }
    print(json.dumps(result, indent=2))


def print_table(comparisons: Sequence[Comparison], arguments: argparse.Namespace) -> None:
    """Print a Markdown table with one row for each workload."""
    print(f"A: {arguments.a}\nB: {arguments.b}")
    print(
        f"{machine()}, {arguments.rounds} rounds, CPU time of process trees; elapsed time is only"
        " for information\n"
    )
    print(
        "| workload | B/A | quartiles | from | to | A, CPU | B, CPU | A, clock | B, clock | in"
        " words |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for comparison in comparisons:
        low, high = comparison.quartiles
        ratios = comparison.ratios
        seconds = (
            median_cpu(comparison.pairs, "a"),
            median_cpu(comparison.pairs, "b"),
            median_wall(comparison.pairs, "a"),
            median_wall(comparison.pairs, "b"),
        )
        times = " | ".join(f"{time:.3f} s" for time in seconds)
        print(
            f"| {comparison.workload.title} | {comparison.median:.3f} | {low:.3f} to {high:.3f} |"
            f" {min(ratios):.3f} | {max(ratios):.3f} | {times} |"
            f" {comparison.in_words(arguments.limit)} |"
        )
    if not all(comparison.counts_orphans for comparison in comparisons):
        print("\nProcesses that outlived their parents are not counted on this system.")


if __name__ == "__main__":
    sys.exit(main())
