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
ABOVE_LIMIT = 4
CLEAR_SHARE = 0.9
"""The share of rounds that must agree. For equal versions, 10 of 11 rounds agree by chance in one
of 85 comparisons."""

TELLABLE_SPREAD = 0.10
"""When rounds do not agree and the quartiles are further apart than this, the result is open."""


@dataclass(frozen=True)
class Pair:
    """What A and B used in one round."""

    a: Usage
    b: Usage

    @property
    def ratio(self) -> float:
        """The CPU time of B divided by that of A."""
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
        """The median of the ratios, each of two runs of the same round."""
        return statistics.median(self.ratios)

    @property
    def quartiles(self) -> tuple[float, float]:
        low, _, high = statistics.quantiles(self.ratios, n=4, method="inclusive")
        return low, high

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
            bound = 1 + limit / 100
            side = "above the limit" if self.is_above(limit) else "within the limit"
            return f"{side}, but the spread is too wide to tell" if low <= bound <= high else side
        if self.share(lambda ratio: ratio > 1) >= CLEAR_SHARE:
            return "B needs more"
        if self.share(lambda ratio: ratio < 1) >= CLEAR_SHARE:
            return "B needs less"
        if high - low > TELLABLE_SPREAD:
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
            "counts_orphans": all(pair.a.counts_orphans for pair in self.pairs),
            "ratios": self.ratios,
        }


def main() -> int:
    """Run the command line and return its exit code."""
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, leave)
    try:
        comparisons = compare(
            arguments.a, arguments.b, arguments.only or WORKLOADS, arguments.rounds
        )
    except (CannotCompare, CommandFailed) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    show = print_json if arguments.json else print_table
    show(comparisons, arguments)
    above = any(comparison.is_above(arguments.limit) for comparison in comparisons)
    return ABOVE_LIMIT if above else 0


def parse_arguments() -> argparse.Namespace:
    """Return the arguments; wrong ones end the process with exit code 2."""
    names = {workload.name: workload for workload in WORKLOADS}
    rows = "\n".join(f"  {workload.name:12} {workload.title}" for workload in WORKLOADS)
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        epilog=f"workloads:\n{rows}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "a", metavar="A", help="a checkout or a git revision, the base of the ratios"
    )
    parser.add_argument("b", metavar="B", help="the version that is compared with it")
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
    unknown = set(arguments.only or ()) - set(names)
    if unknown:
        parser.error(
            f"unknown workload {', '.join(sorted(unknown))}; choose from {', '.join(names)}"
        )
    arguments.only = [names[name] for name in arguments.only or ()]
    return arguments


def leave(number: int, frame: FrameType | None) -> None:
    """End the process on a signal in the usual way, so that it cleans up."""
    raise SystemExit(128 + number)


def compare(a: str, b: str, workloads: Sequence[Workload], rounds: int) -> list[Comparison]:
    """Return the comparison of each workload.

    Args:
        a: a folder or a revision, the base of the ratios.
        b: the other one.
        workloads: what to run.
        rounds: rounds that count; one more runs first.

    Raises:
        CannotCompare: a checkout cannot run, or the two give different answers.
        CommandFailed: a command failed.
    """
    with contextlib.ExitStack() as cleanup:
        scratch = Path(
            cleanup.enter_context(tempfile.TemporaryDirectory(prefix="kfgcp-bench-"))
        ).resolve()
        base = cleanup.enter_context(open_checkout(a, scratch / "a"))
        changed = cleanup.enter_context(open_checkout(b, scratch / "b"))
        warn_of_pythons(base, changed)
        comparisons = []
        for workload in workloads:
            print(f"measuring {workload.name}", file=sys.stderr, flush=True)
            folder = scratch / workload.name
            folder.mkdir()
            pairs = measure_pairs(workload, [base, changed], rounds, folder)
            comparisons.append(Comparison(workload, pairs))
        return comparisons


def warn_of_pythons(base: Checkout, changed: Checkout) -> None:
    """Print a warning when the two run on different versions of Python."""
    _, first = python_facts(base)
    _, second = python_facts(changed)
    if first != second:
        print(
            f"A runs on Python {first}, B on {second}: the ratios compare these too.",
            file=sys.stderr,
        )


def measure_pairs(
    workload: Workload, checkouts: list[Checkout], rounds: int, folder: Path
) -> list[Pair]:
    """Run a workload alternately on both sides, and return the pairs that count.

    The first round fills caches and does not count. A runs first in one round and B in the next,
    because the second run of a round may be faster because of the first.

    Raises:
        CannotCompare: the two sides gave different answers.
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
        used_b = run_once(workload, b, project)
        return Pair(run_once(workload, a, project), used_b)
    used_a = run_once(workload, a, project)
    return Pair(used_a, run_once(workload, b, project))


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
        times = " | ".join(f"{value:.3f} s" for value in seconds)
        print(
            f"| {comparison.workload.title} | {comparison.median:.3f} | {low:.3f} to {high:.3f} |"
            f" {min(ratios):.3f} | {max(ratios):.3f} | {times} |"
            f" {comparison.in_words(arguments.limit)} |"
        )
    if not all(pair.a.counts_orphans for comparison in comparisons for pair in comparison.pairs):
        print("\nProcesses that outlived their parents are not counted on this system.")


if __name__ == "__main__":
    sys.exit(main())
