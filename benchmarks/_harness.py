"""What every benchmark shares: arguments, environment, rows, and how they are written.

A benchmark verifies before it times, times rivals interleaved in one run, and makes rows. `--json`
prints one document on stdout and nothing else; rows of a full run are appended to
`results/<device>.jsonl`, from which the README's figures are made.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import gc
import json
import multiprocessing
import os
import re
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from droplab.results import environment

RESULTS = Path(__file__).parent / "results"


@dataclass
class Benchmark:
    """One run of a benchmark script.

    Args:
        name: The script's name, e.g. "bench_fit".
        quick: Whether it has to end within 50 seconds.
        as_json: Whether stdout is for one JSON document alone.
        device: Name of the processor, or of the GPU.
    """

    name: str
    quick: bool
    as_json: bool
    device: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @classmethod
    def from_command_line(
        cls,
        name: str,
        describe: str,
        extend: Callable[[argparse.ArgumentParser], None] | None = None,
    ) -> tuple[Benchmark, argparse.Namespace]:
        """Parse `--quick`, `--json` and what `extend` adds."""
        parser = argparse.ArgumentParser(prog=f"benchmarks/{name}.py", description=describe)
        parser.add_argument("--quick", action="store_true", help="end within 50 seconds")
        parser.add_argument("--json", action="store_true", help="print one JSON document")
        if extend is not None:
            extend(parser)
        arguments = parser.parse_args()
        found = environment()
        return cls(name, arguments.quick, arguments.json, found["cpu"]), arguments

    def say(self, text: str) -> None:
        """Show a line of progress, on stderr when stdout is for JSON."""
        print(text, file=sys.stderr if self.as_json else sys.stdout, flush=True)

    def add(
        self,
        case: str,
        rival: str,
        ours: Sequence[float],
        theirs: Sequence[float],
        *,
        unit: str = "s",
        **more: Any,
    ) -> dict[str, Any]:
        """Add a row: medians of ours and theirs, in seconds, and the ratio theirs / ours.

        With as many of ours as of theirs, measured in turn, the ratio is the median of the ratios
        of the pairs, which a slow phase of the machine disturbs least.
        """
        pairs = len(ours) == len(theirs) and len(ours) > 1
        mine, other = statistics.median(ours), statistics.median(theirs)
        ratios = [b / a for a, b in zip(ours, theirs, strict=False)] if pairs else [other / mine]
        row = {
            "case": case,
            "rival": rival,
            "ours": mine,
            "theirs": other,
            "ratio": statistics.median(ratios),
            "ratio_low": min(ratios),
            "ratio_high": max(ratios),
            "repeats": len(ours),
            "unit": unit,
            "ours_p20_p80": quantiles(ours),
            "theirs_p20_p80": quantiles(theirs),
            **more,
        }
        self.rows.append(row)
        self.say(
            f"{case}: {rival} {other:.4g} {unit}, droplab {mine:.4g} {unit}, "
            f"ratio {row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})"
        )
        return row

    def skip(self, rival: str, why: str) -> None:
        """Name a rival that is left out."""
        self.skipped.append(f"{rival}: {why}")
        self.say(f"left out: {rival} ({why})")

    def finish(self) -> None:
        """Print the document, or keep the rows of a full run."""
        about = {**environment(), "commit": _commit(), "date": _now(), "device": self.device}
        document: dict[str, Any] = {
            "benchmark": self.name,
            "quick": self.quick,
            "environment": about,
            "rows": self.rows,
            "skipped": self.skipped,
        }
        if self.as_json:
            json.dump(document, sys.stdout, indent=1)
            sys.stdout.write("\n")
        if not self.quick:
            RESULTS.mkdir(exist_ok=True)
            slug = re.sub(r"[^a-z0-9]+", "-", self.device.lower()).strip("-")
            common = {
                "benchmark": self.name,
                "device": self.device,
                "cores": about["cores"],
                "torch": about["packages"].get("torch"),
                "commit": about["commit"],
                "date": about["date"],
            }
            with (RESULTS / f"{slug}.jsonl").open("a", encoding="utf-8") as file:
                for row in self.rows:
                    file.write(json.dumps({**common, **row}) + "\n")


def peak_bytes() -> int:
    """Return the most memory that this process has had; on Linux, without what its parent had."""
    try:
        with Path("/proc/self/status").open(encoding="ascii") as status:
            return next(int(line.split()[1]) * 1024 for line in status if "VmHWM" in line)
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class Elsewhere:
    """What a generator yields in a process of its own, item by item, when it is asked for.

    So a rival runs as its users run it: with the threads, the memory and the settings of a process
    that has nothing of droplab's at work.

    Args:
        make: Returns the generator; a function of a module.
        *arguments: What it is given.
        **named: What it is given by name.
    """

    def __init__(self, make: Callable[..., Iterator[Any]], *arguments: Any, **named: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        context.Process(target=_serve, args=(theirs, make, arguments, named)).start()
        theirs.close()
        self._receive()  # what it imports takes seconds, in which nothing else can be timed

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self._pipe.send("next")
        return self._receive()

    def _receive(self) -> Any:
        try:
            return self._pipe.recv()
        except EOFError:
            raise RuntimeError("the rival's process has ended; its message stands above") from None


def _serve(
    pipe: Any, make: Callable[..., Iterator[Any]], arguments: Sequence[Any], named: dict[str, Any]
) -> None:
    items = make(*arguments, **named)
    pipe.send("ready")
    while True:
        try:
            pipe.recv()
        except EOFError:  # nobody asks any more; to take torch apart takes a second of a processor
            os._exit(0)
        pipe.send(next(items))


def peak_of(work: Callable[[], object]) -> int | None:
    """Return how much more memory than before some work took at its most; None but on Linux."""
    try:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what earlier work has freed is no memory of this one
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    except (OSError, AttributeError):
        return None
    before = peak_bytes()
    work()
    return peak_bytes() - before


def quantiles(values: Sequence[float]) -> tuple[float, float]:
    """Return the 20th and 80th percentile."""
    if len(values) < 2:
        return values[0], values[0]
    tenths = statistics.quantiles(values, n=10, method="inclusive")
    return tenths[1], tenths[7]


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
