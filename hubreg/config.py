"""
How hubreg is set up: one frozen value, read once.

Each setting comes from, in rising precedence: the default here, a TOML file (`--config`), an environment variable
`HUBREG_` + its name in capitals, the command line. Nothing else in hubreg reads the environment.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hubreg.errors import Unusable

Network = IPv4Network | IPv6Network
MIB = 1 << 20
_KINDS = {str: "text", int: "a whole number", bool: "true or false"}
_OF_KUBERNETES = re.compile(
    r"HUBREG_(?:SERVICE|PORT)_"
)  # it tells every pod of a service that is named hubreg
_INTEGER = re.compile(r"-?[0-9]{1,18}")


def _setting(default: Any, help_: str) -> Any:
    return field(default=default, metadata={"help": help_})


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting, with the line that the documentation and `hubreg serve --help` print."""

    data: Path = _setting(  # noqa: RUF009 it makes a field
        Path("hubreg-data"), "Directory that holds everything; made when missing."
    )
    host: str = _setting("127.0.0.1", "Address to listen on. 0.0.0.0 is every one.")
    port: int = _setting(8080, "Port to listen on; 0 takes a free one.")
    workers: int = _setting(1, "Processes that serve requests.")
    public_url: str = _setting(
        "",
        "The URL that clients use, if it is not what their Host header says; URLs in answers begin with it.",
    )
    trusted_proxies: str = _setting(
        "", "Addresses or networks, comma-separated, whose X-Forwarded-For, -Proto and -Host are believed."
    )
    anonymous: bool = _setting(True, "Whether public repos can be read without a token.")
    upstream: str = _setting(
        "", "URL of a Hub whose repos are mirrored: https://huggingface.co. More, and rules: hubreg mirror."
    )
    mirror_budget: int = _setting(
        0, "Bytes that are kept of mirrored files; those that were not used for the longest go. 0: no limit."
    )
    ssl_certfile: str = _setting("", "Certificate chain (PEM); with it hubreg speaks https.")
    ssl_keyfile: str = _setting("", "Private key (PEM) of the certificate.")
    access_log: bool = _setting(True, "Whether each request is logged.")
    graceful_seconds: int = _setting(60, "How long a stop waits for transfers under way.")
    regular_max: int = _setting(
        10 * MIB, "Largest file, in bytes, that git itself holds; larger ones are LFS."
    )
    lfs_max: int = _setting(500 * 10**9, "Largest file, in bytes, at all.")
    part_size: int = _setting(64 * MIB, "Bytes in each part of a multipart upload.")
    multipart_from: int = _setting(1024 * MIB, "Files from this many bytes on are sent in parts.")
    link_seconds: int = _setting(6 * 3600, "How long the URLs that an upload is sent to are good for.")
    xet_index: bool = _setting(
        True,
        "Whether large files that did not come by Xet are indexed, in the background, to be fetched by it too.",
    )
    xet_index_from: int = _setting(1 * MIB, "Smallest file, in bytes, that is worth indexing.")
    xet_native: bool = _setting(
        True, "Whether indexing may use a C compiler, where there is one, to take a third of the time."
    )

    def __post_init__(self) -> None:
        self.proxies()
        if self.public_url and not _is_plain_url(self.public_url):
            raise Unusable(f"public_url must be a plain http(s) URL, not {self.public_url!r}.")
        if self.upstream and not _is_plain_url(self.upstream):
            raise Unusable(f"upstream must be a plain http(s) URL, not {self.upstream!r}.")
        if bool(self.ssl_certfile) != bool(self.ssl_keyfile):
            raise Unusable("ssl_certfile and ssl_keyfile are needed together.")
        if not 0 <= self.port <= 65535:
            raise Unusable(f"port must be 0 to 65535, not {self.port}.")
        if self.workers < 1:
            raise Unusable(f"workers must be at least 1, not {self.workers}.")
        if self.graceful_seconds < 0:
            raise Unusable(f"graceful_seconds must be at least 0, not {self.graceful_seconds}.")
        if self.mirror_budget < 0:
            raise Unusable(f"mirror_budget must be at least 0, not {self.mirror_budget}.")
        for name in (
            "regular_max",
            "lfs_max",
            "part_size",
            "multipart_from",
            "link_seconds",
            "xet_index_from",
        ):
            if getattr(self, name) < 1:
                raise Unusable(f"{name} must be at least 1.")

    def proxies(self) -> tuple[Network, ...]:
        """`trusted_proxies`, parsed."""
        texts = [text.strip() for text in self.trusted_proxies.split(",") if text.strip()]
        try:
            return tuple(ip_network(text, strict=False) for text in texts)
        except ValueError as error:
            raise Unusable(f"trusted_proxies: {error}.") from error


def load(
    file: Path | None = None, flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
) -> Config:
    """
    The configuration from all its sources. `flags` are those given on the command line; None values are not.

    Raises `Unusable` for a file that is missing or does not parse, a setting that does not exist, a value that is
    not of its kind.
    """
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values.update(_typed(tomllib.loads(file.read_text()), str(file)))
        except OSError as error:
            raise Unusable(f"The configuration file {file} cannot be read: {error.strerror}.") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise Unusable(f"The configuration file {file} is not TOML: {error}.") from error
    environ = os.environ if environ is None else environ
    values.update(_typed(_named(environ), "environment"))
    values.update(_typed({k: v for k, v in (flags or {}).items() if v is not None}, "command line"))
    return replace(Config(), **values)


def _named(environ: Mapping[str, str]) -> dict[str, str]:
    """The settings among all variables. One that only looks like a setting is a mistake that nobody would notice."""
    known = {f"HUBREG_{setting.name.upper()}": setting.name for setting in fields(Config)}
    for name in environ:
        if name.startswith("HUBREG_") and name not in known and not _OF_KUBERNETES.match(name):
            near = get_close_matches(name.removeprefix("HUBREG_").lower(), known.values(), 1)
            raise Unusable(
                f"environment: there is no setting {name}.",
                hint=f"Is it HUBREG_{near[0].upper()}?" if near else f"There are: {', '.join(known)}.",
            )
    return {known[name]: text for name, text in environ.items() if name in known}


def _is_plain_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises for what is no number
    except ValueError:
        return False
    plain = not (parts.query or parts.fragment or parts.username or parts.password)
    return plain and parts.scheme in ("http", "https") and bool(parts.hostname)


def _typed(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    kinds = {setting.name: type(setting.default) for setting in fields(Config)}
    typed: dict[str, Any] = {}
    for name, value in values.items():
        if name not in kinds:
            raise Unusable(f"{source}: there is no setting {name!r}.", hint=f"There are: {', '.join(kinds)}.")
        typed[name] = _cast(name, value, kinds[name], source)
    return typed


def _cast(name: str, value: Any, kind: type, source: str) -> Any:
    if issubclass(kind, Path) and isinstance(value, str | Path):
        return Path(value)
    if kind is bool and isinstance(value, str) and value.lower() in ("1", "true", "yes", "0", "false", "no"):
        return value.lower() in ("1", "true", "yes")
    if kind is int and isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        return int(value)
    if type(value) is kind:
        return value
    raise Unusable(f"{source}: {name} must be {_KINDS.get(kind, 'a path')}, not {value!r}.")
