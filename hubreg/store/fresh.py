"""
Caches in process.

`Fresh` holds answers that a write may change: each look-up asks the database whether anything was written since, by
whichever process, and forgets everything if so. That question costs 2 us and no I/O. `Bounded` holds what never
changes, a commit's content above all; it only has to be kept from growing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from hubreg.store.db import Database

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Fresh(Generic[K, V]):
    """Up to `limit` answers, all of them forgotten at the first look-up after any write."""

    def __init__(self, db: Database, limit: int = 10_000) -> None:
        self._db, self._limit = db, limit
        self._version = -1
        self._held: dict[K, V] = {}
        self._asked: dict[K, int] = {}  # the version at which a key was first missed

    def get(self, key: K) -> V | None:
        version = self._db.version()
        if version != self._version:
            self._version = version
            self._held = {}
        found = self._held.get(key)
        if found is None:
            if len(self._asked) >= self._limit:
                self._asked.clear()  # of look-ups that found nothing to hold
            self._asked.setdefault(key, version)
        return found

    def put(self, key: K, value: V) -> None:
        """
        Hold an answer that was read after the `get` that missed it.

        It is not held when something was written in between and another look-up has seen that already: the answer may
        be older than the version that it would be kept under.
        """
        asked = self._asked.pop(key, None)
        if asked != self._version:
            return
        if len(self._held) >= self._limit:
            self._held.clear()
        self._held[key] = value


class Bounded(Generic[K, V]):
    """The answers used last, as many as together weigh at most `limit`."""

    def __init__(self, limit: int, weigh: Callable[[V], int] = lambda _: 1) -> None:
        self._limit, self._weigh, self._weight = limit, weigh, 0
        self._held: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        found = self._held.get(key)
        if found is not None:
            self._held.move_to_end(key)
        return found

    def put(self, key: K, value: V) -> None:
        old = self._held.pop(key, None)
        if old is not None:
            self._weight -= self._weigh(old)
        self._held[key] = value
        self._weight += self._weigh(value)
        while self._weight > self._limit and len(self._held) > 1:
            _, dropped = self._held.popitem(last=False)
            self._weight -= self._weigh(dropped)
