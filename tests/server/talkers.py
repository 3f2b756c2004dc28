"""Several processes with several threads that share one descriptor: `talkers.py` writes 4 x 3 x 50 lines to stderr."""

from __future__ import annotations

import os
import threading

import msgspec

from hubreg.server.logs import Lines


def talk(lines: Lines, worker: int, thread: int) -> None:
    for n in range(50):
        # Longer than a pipe takes at once, so that whole lines need more than luck.
        line = {"from": [worker, thread, n], "filler": "x" * (n * 300)}
        lines.write(msgspec.json.encode(line) + b"\n")


def be_worker(lines: Lines, worker: int) -> None:
    threads = [threading.Thread(target=talk, args=(lines, worker, thread)) for thread in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    lines = Lines()
    children: list[int] = []
    for worker in range(4):
        child = os.fork()
        if not child:
            be_worker(lines, worker)
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
