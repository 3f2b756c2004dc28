"""
The stand-in in a process of its own: nothing of it shares the interpreter lock with what is measured.

`Process` starts one and ends it; `Remote` is its remote control, over `/-stand-in-/` on the Hub's port, which the
ledger does not show. What can be called there: `CALLS`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from tests.fakehub.fake import FakeHub
from tests.fakehub.script import Fault
from tests.fakehub.wire import Answer, Request, Seen

CONTROL = "/-stand-in-/"
ROOT = Path(__file__).parents[2]
CALLS = frozenset(
    (
        "cut_after flip stall throttle wrong_length without_length ignore_range set_header fail html broken_json delay"
        " hang_up redirect redirect_loop endless_headers endless_body endless_listing rate_limit expire_urls clear"
        " forget sent seen"
    ).split()
)


class ControlledHub(FakeHub):
    """A stand-in that takes orders by HTTP."""

    def _respond(self, request: Request, seen: Seen) -> Answer:
        if seen.site == "hub" and request.path.startswith(CONTROL):
            self.strike(seen)
            return self._obey(request)
        return super()._respond(request, seen)

    def _obey(self, request: Request) -> Answer:
        name = request.path.removeprefix(CONTROL)
        if name not in CALLS:
            return _said(404, {"error": f"no such call: {name}"})
        order = json.loads(request.body or b"{}")
        call: Callable[..., Any] = getattr(self, name)
        result = call(*order.get("args", []), **order.get("kwargs", {}))
        if isinstance(result, Fault):
            result = None
        elif isinstance(result, list):
            result = [asdict(seen) for seen in result]
        return _said(200, {"result": result})


def _said(status: int, value: Any) -> Answer:
    from_json = json.dumps(value).encode()
    return Answer.of(status, "application/json", from_json)


class Remote:
    """
    The remote control: `remote.cut_after("model.safetensors", 0.5)`, `remote.sent("*")`, `remote.seen(kind="tree")`.

    Faults that are set this way cannot be waited for or released one by one; `clear` heals all.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in CALLS:
            raise AttributeError(name)

        def call(*args: Any, **kwargs: Any) -> Any:
            body = json.dumps({"args": args, "kwargs": kwargs}).encode()
            request = urllib.request.Request(self.url + CONTROL + name, body, method="POST")
            with urllib.request.urlopen(request, timeout=30) as response:
                result = json.load(response)["result"]
            return [Seen(**seen) for seen in result] if name == "seen" else result

        return call


class Process(Remote):
    """`python -m tests.fakehub` with these arguments, while the block lasts. `pid`: for whoever counts its CPU time."""

    def __init__(self, *arguments: str | Path) -> None:
        super().__init__("")
        self._command = [sys.executable, "-m", "tests.fakehub", *map(str, arguments)]
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self._process.stdout is not None
        line = self._process.stdout.readline().split()
        assert line, "the stand-in did not start"
        self.url = line[-1]
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        self._process.terminate()
        self._process.stdout.close()
        assert self._process.wait(30) == 0, "the stand-in broke; see stderr"
