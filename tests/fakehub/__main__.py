"""`python -m tests.fakehub`: the stand-in as a process, for benches and for runs of clients' own test suites."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from tests.fakehub import recorded, seeded
from tests.fakehub.content import Generated, regular
from tests.fakehub.fake import FakeHub
from tests.fakehub.process import ControlledHub

UNITS = {"K": 10, "M": 20, "G": 30}


def size(text: str) -> int:
    """`1048576`, `64M`, `1.5G`: binary units."""
    return int(float(text[:-1]) * (1 << UNITS[text[-1].upper()])) if text[-1:].upper() in UNITS else int(text)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m tests.fakehub", description=__doc__)
    made.add_argument("--host", default="127.0.0.1")
    made.add_argument("--port", type=int, default=0)
    made.add_argument("--cdn-host", default="127.0.0.2")
    made.add_argument("--cdn-port", type=int, default=0)
    made.add_argument(
        "--seeds",
        type=Path,
        nargs="?",
        const=seeded.SEEDS,
        help="stand-ins for the repos that this list names; says which it has not",
    )
    made.add_argument("--full-size", action="store_true", help="weights as long as their headers say (17 GB)")
    made.add_argument("--recorded", action="store_true", help="the repos of the recorded answers")
    made.add_argument(
        "--file",
        action="append",
        default=[],
        metavar="NS/NAME/PATH=SIZE",
        help="a large file of a model, generated; again for more",
    )
    made.add_argument(
        "--files",
        action="append",
        default=[],
        metavar="NS/NAME=COUNTxSIZE",
        help="a model of many small files",
    )
    return made


def fill(hub: FakeHub, large: list[str], many: list[str]) -> None:
    """Make the generated models of the command line."""
    for seed, written in enumerate(large):
        place, _, length = written.rpartition("=")
        namespace, name, path = place.split("/", 2)
        hub.model(f"{namespace}/{name}").commit({path: Generated(size(length), seed)})
    for seed, written in enumerate(many, 1):
        id, _, amount = written.rpartition("=")
        count, _, length = amount.partition("x")
        places = range(int(count))
        files = {f"file-{at:05d}.bin": regular(Generated(size(length), 1000 * seed + at)) for at in places}
        hub.model(id).commit(files)


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM or SIGINT. The first line on stdout ends in the Hub's address."""
    asked = parser().parse_args(arguments)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    hub = ControlledHub(host=asked.host, port=asked.port, cdn_host=asked.cdn_host, cdn_port=asked.cdn_port)
    if asked.seeds:
        seeded.build(hub, full_size=asked.full_size)
        for tier, ids in seeded.missing(hub, asked.seeds).items():
            if ids:
                print(f"{tier}: no stand-in for {', '.join(ids)}", file=sys.stderr)
    fill(hub, asked.file, asked.files)
    if asked.recorded:
        recorded.build(hub)
        hub.public_url = hub.cdn_public_url = hub.cas_url = ""
    with hub:
        print(f"the stand-in listens, its CDN on {hub.cdn_url}, the Hub on {hub.url}", flush=True)
        stopped.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
