"""Whether our JSON is like the Hub's: every key that was recorded is there, with a value of the same kind."""

from __future__ import annotations

from typing import Any


def missing(ours: Any, recorded: Any, place: str = "") -> list[str]:
    """What a client that read the recorded value would miss in ours, as sentences; of lists the first rows count."""
    if _kind(ours) != _kind(recorded):
        return [f"{place or 'the body'} is {_kind(ours)}, the Hub's {_kind(recorded)}"]
    if isinstance(recorded, dict):
        found = [f"{place}.{key} is missing" for key in recorded if key not in ours]
        for key in recorded:
            if key in ours:
                found += missing(ours[key], recorded[key], f"{place}.{key}")
        return found
    if isinstance(recorded, list) and recorded:
        if not ours:
            return [f"{place} is empty"]
        return missing(ours[0], recorded[0], f"{place}[0]")
    return []


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "a flag"
    if isinstance(value, int | float):
        return "a number"
    return {str: "text", list: "a list", dict: "an object", type(None): "null"}[type(value)]
