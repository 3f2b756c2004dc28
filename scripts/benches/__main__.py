"""`scripts/bench`: its command line."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scripts.benches import dedup, head, index, mirror, scale, serve, start, upload, xet
from scripts.benches.report import machine

BENCHES = {
    module.__name__.rpartition(".")[2]: module
    for module in (serve, head, upload, xet, index, dedup, mirror, scale, start)
}


def parser() -> argparse.ArgumentParser:
    """One sub-command for each bench, all with the same options."""
    form = argparse.RawDescriptionHelpFormatter
    found = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure hubreg beside something real, in one run.",
        formatter_class=form,
    )
    commands = found.add_subparsers(dest="bench", required=True, metavar="BENCH")
    for name, module in BENCHES.items():
        about = (module.__doc__ or "").strip()
        command = commands.add_parser(
            name, help=about.partition("\n")[0], description=about, formatter_class=form
        )
        command.add_argument(
            "--quick", action="store_true", help="small and short: whether it runs, not how fast"
        )
        command.add_argument("--rounds", type=_positive, metavar="N", help="how often each thing is measured")
        command.add_argument(
            "--dir",
            type=Path,
            metavar="DIR",
            help="where several GiB may lie; default: the temporary directory",
        )
    return found


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one bench and print its table. A target that is missed is a line of the table, not a failure."""
    options = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # whatever was started ends with its `with` block
    if options.dir is not None:
        options.dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hubreg-bench-", dir=options.dir) as place:
        print(machine(), flush=True)
        report = BENCHES[options.bench].measure(Path(place), quick=options.quick, rounds=options.rounds)
    print(report.text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
