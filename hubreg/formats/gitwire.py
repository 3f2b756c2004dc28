"""
What is said over git's smart HTTP (gitprotocol-http, -v2, -pack): requests and answers, bytes <-> values.

Fetching knows two forms. In version 2 the client asks for refs, then for objects, each a command with sections; in
version 0, which git spoke until 2.26, the refs come unasked and the rest are bare lines. Both become one `Fetch`.
Pushing has only the second form. What hubreg can do is said in the capabilities here; a client asks for nothing
else. Not among them: filters (partial clones), packs as URIs, push options, signed pushes, SHA-256.

A pack stands behind these words on either side; `formats.packs` knows what is in it.
"""

from __future__ import annotations

import enum
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from hubreg import __version__
from hubreg.errors import Invalid, TooLarge
from hubreg.formats import pktline
from hubreg.formats.pktline import Band, Decoder, Mark, Packet
from hubreg.model import CommitId, Oid

UPLOAD, RECEIVE = "git-upload-pack", "git-receive-pack"  # what fetching and pushing are called, from here
HEAD = "HEAD"
ZERO = Oid("0" * 40)  # no object: a ref that is to be made, or to go

_AGENT = f"agent=hubreg/{__version__} object-format=sha1"
_FETCHES = (
    "multi_ack multi_ack_detailed no-done side-band-64k shallow deepen-since deepen-not deepen-relative include-tag"
    " allow-tip-sha1-in-want allow-reachable-sha1-in-want no-progress"
)
_PUSHES = "report-status delete-refs side-band-64k ofs-delta atomic quiet"

COMMANDS = 1000  # of one push, at most

# What one request may say, beyond its bytes: gzip makes millions of lines of a few kB.
_LINES = 200_000  # of a fetch: more haves than a body of reasonable size holds
_HEAD_LINES = 100  # of a command of version 2, above its arguments
_EXCLUDED = 1000  # refs whose history a fetch does not want
_PREFIXES = 65_536  # of refs; from so many on git, too, tells of all

_OID = re.compile(r"[0-9a-f]{40}")
_NUMBER = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Ref:
    """A ref as git is told of it: the commit that it leads to, and the annotated tag on the way, where there is one."""

    name: str
    commit: CommitId
    tag: Oid | None = None

    @property
    def oid(self) -> Oid:
        return self.tag or Oid(self.commit)


# --- refs ---


def render_capabilities() -> bytes:
    """What hubreg can do, in version 2. Refs are another question there."""
    lines = ("version 2", *_AGENT.split(), "ls-refs", "fetch=shallow")
    return b"".join(map(_line, lines)) + Mark.FLUSH.value


def render_advertisement(service: str, refs: Sequence[Ref], head: str) -> bytes:
    """Refs and capabilities, in version 0. `head` names the ref that HEAD is."""
    lines = list(_advertised(service, refs, head)) or [f"{ZERO} capabilities^{{}}"]
    abilities = f"{_FETCHES} symref={HEAD}:{head}" if service == UPLOAD else _PUSHES
    lines[0] += f"\0{abilities} {_AGENT}"
    return _line(f"# service={service}") + Mark.FLUSH.value + b"".join(map(_line, lines)) + Mark.FLUSH.value


def _advertised(service: str, refs: Sequence[Ref], head: str) -> Iterator[str]:
    if service == UPLOAD:
        yield from (f"{ref.oid} {HEAD}" for ref in refs if ref.name == head)
    for ref in refs:
        yield f"{ref.oid} {ref.name}"
        if service == UPLOAD and ref.tag:
            yield f"{ref.commit} {ref.name}^{{}}"


@dataclass(frozen=True, slots=True)
class LsRefs:
    """The question for refs that begin with one of the prefixes, or all if there is none."""

    prefixes: tuple[str, ...] = ()
    peel: bool = False
    symrefs: bool = False


def render_refs(asked: LsRefs, refs: Sequence[Ref], head: str) -> bytes:
    """The answer. Work for a thread, where there are many prefixes."""
    begins = _Prefixes(asked.prefixes)
    lines = [
        f"{ref.oid} {HEAD}" + (f" symref-target:{head}" if asked.symrefs else "")
        for ref in refs
        if ref.name == head and HEAD in begins
    ]
    for ref in refs:
        if ref.name in begins:
            peeled = f" peeled:{ref.commit}" if asked.peel and ref.tag else ""
            lines.append(f"{ref.oid} {ref.name}{peeled}")
    return b"".join(map(_line, lines)) + Mark.FLUSH.value


class _Prefixes:
    """The names that begin with one of the prefixes, or all if there is none. A look-up is a few steps of many."""

    def __init__(self, prefixes: Iterable[str]) -> None:
        self._shortest: list[
            str
        ] = []  # in order, and none begins with another: only the one before a name can fit
        for prefix in sorted(prefixes):
            if not (self._shortest and prefix.startswith(self._shortest[-1])):
                self._shortest.append(prefix)

    def __contains__(self, name: str) -> bool:
        at = bisect_right(self._shortest, name)
        return not self._shortest or (at > 0 and name.startswith(self._shortest[at - 1]))


# --- fetching ---


class Acks(enum.Enum):
    """How a client likes its haves acknowledged."""

    FIRST = enum.auto()  # only the first that is here
    EACH = enum.auto()  # multi_ack
    DETAILED = enum.auto()  # multi_ack_detailed
    SECTION = enum.auto()  # version 2


@dataclass(frozen=True, slots=True)
class Deepen:
    """How much history a client wants. `relative`: counted from where its own ends."""

    depth: int | None = None
    relative: bool = False
    since: int | None = None  # seconds since 1970
    excluding: tuple[str, ...] = ()  # refs, and all that they lead to

    def __bool__(self) -> bool:
        return self.depth is not None or self.since is not None or bool(self.excluding)


@dataclass(slots=True)
class Fetch:
    """The question for objects: all that `wants` lead to and `haves` do not; `shallow` have no parents over there."""

    acks: Acks = Acks.FIRST
    wants: list[Oid] = field(default_factory=list)
    haves: list[Oid] = field(default_factory=list)
    shallow: list[Oid] = field(default_factory=list)
    deepen: Deepen = Deepen()
    done: bool = False
    no_done: bool = False
    include_tags: bool = False
    bands: bool = False
    negotiating: bool = True  # False where version 0 only asks where the history is to end

    @property
    def sections(self) -> bool:
        return self.acks is Acks.SECTION

    def take(self, line: str) -> bool:
        """Take a line that both versions have; False for one that is none of these."""
        word, _, rest = line.partition(" ")
        match word:
            case "want":
                self.wants.append(_oid(rest))
            case "have":
                self.haves.append(_oid(rest))
            case "shallow":
                self.shallow.append(_oid(rest))
            case "done" if not rest:
                self.done = True
            case _:
                return self._take_deepen(word, rest)
        return True

    def _take_deepen(self, word: str, rest: str) -> bool:
        match word:
            case "deepen":
                self.deepen = replace(self.deepen, depth=_number(rest) or None)
            case "deepen-since":
                self.deepen = replace(self.deepen, since=_number(rest))
            case "deepen-not":
                if len(self.deepen.excluding) == _EXCLUDED:
                    raise Invalid(f"A fetch may exclude {_EXCLUDED} refs.")
                self.deepen = replace(self.deepen, excluding=(*self.deepen.excluding, rest))
            case "deepen-relative":
                self.deepen = replace(self.deepen, relative=True)
            case _:
                return False
        return True

    def settled(self) -> Fetch:
        """The same, with nothing said twice."""
        for ids in (self.wants, self.haves, self.shallow):
            ids[:] = dict.fromkeys(ids)
        return self


def parse_command(body: bytes) -> LsRefs | Fetch | None:
    """A request of version 2; None for one that says nothing. Raises `Invalid`. Work for a thread, as all parsing."""
    packets = _packets(body)
    head = [_text(p) for p in islice(_until(packets, Mark.DELIM, Mark.FLUSH), _HEAD_LINES + 1)]
    if not head:
        return None
    if len(head) > _HEAD_LINES:
        raise Invalid(f"A git command may have {_HEAD_LINES} lines above its arguments.")
    if any(line.startswith("object-format=") and line != "object-format=sha1" for line in head):
        raise Invalid("hubreg keeps SHA-1 repositories only.")
    lines = (_text(packet) for packet in _until(packets, Mark.FLUSH))
    if "command=ls-refs" in head:
        return _ls_refs(lines)
    if "command=fetch" not in head:
        raise Invalid(f"hubreg does not know the git command {head[0][:100]!r}.")
    fetch = Fetch(Acks.SECTION, bands=True)
    for line in lines:
        if line == "include-tag":
            fetch.include_tags = True
        elif not fetch.take(line) and line not in ("thin-pack", "no-progress", "ofs-delta"):
            raise Invalid(f"hubreg does not know how to fetch with {line[:100]!r}.")
    return fetch.settled()


def _ls_refs(lines: Iterable[str]) -> LsRefs:
    words = dict.fromkeys(lines)
    prefixes = [word.removeprefix("ref-prefix ") for word in words if word.startswith("ref-prefix ")]
    return LsRefs(tuple(prefixes) if len(prefixes) < _PREFIXES else (), "peel" in words, "symrefs" in words)


def parse_fetch(body: bytes) -> Fetch | None:
    """A request for objects in version 0; None for one that says nothing. Raises `Invalid`."""
    fetch = Fetch(negotiating=False)
    flushed = False
    for packet in _packets(body):
        fetch.negotiating |= flushed  # something follows the wants
        if isinstance(packet, Mark):
            flushed = True
            continue
        line = _text(packet)
        if line.startswith("want ") and not fetch.wants:
            line, _, words = line.partition(" ")[2].partition(" ")
            line = f"want {line}"
            _take_abilities(fetch, words.split())
        if not fetch.take(line):
            raise Invalid(f"hubreg does not know how to fetch with {line[:100]!r}.")
    return fetch.settled() if fetch.wants else None


def _take_abilities(fetch: Fetch, words: Sequence[str]) -> None:
    if "multi_ack_detailed" in words:
        fetch.acks = Acks.DETAILED
    elif "multi_ack" in words:
        fetch.acks = Acks.EACH
    fetch.no_done = "no-done" in words
    fetch.include_tags = "include-tag" in words
    fetch.bands = "side-band-64k" in words
    if "deepen-relative" in words:
        fetch.deepen = Deepen(relative=True)


@dataclass(frozen=True, slots=True)
class Shallow:
    """Commits that are to have no parents on the client's side from now on, and such that get theirs."""

    shallow: tuple[CommitId, ...] = ()
    unshallow: tuple[CommitId, ...] = ()


def render_negotiation(
    fetch: Fetch, common: Sequence[Oid], *, ready: bool, shallow: Shallow
) -> tuple[bytes, bool]:
    """
    The answer up to the pack, and whether the pack follows. `common` are the haves that are here; `ready`: nothing
    wanted is without a common ancestor, so that more haves would tell little.
    """
    if fetch.sections:
        return _sections(fetch, common, ready=ready, shallow=shallow)
    moved = _shallow_lines(shallow) + Mark.FLUSH.value if fetch.deepen else b""
    if not fetch.negotiating:
        return moved, False
    lines = list(_acknowledged(fetch.acks, common))
    last = common[-1] if common else ""
    if fetch.done:
        follows = True
        if not common:
            lines.append("NAK")
        elif fetch.acks is not Acks.FIRST:
            lines.append(f"ACK {last}")
    else:
        ready = ready and bool(common) and fetch.acks is Acks.DETAILED
        follows = ready and fetch.no_done
        lines += [f"ACK {last} ready"] if ready else []
        lines += ["NAK"] if not common or fetch.acks is not Acks.FIRST else []
        lines += [f"ACK {last}"] if follows else []
    return moved + b"".join(map(_line, lines)), follows


def _acknowledged(acks: Acks, common: Sequence[Oid]) -> Iterator[str]:
    if acks is Acks.FIRST:
        yield from (f"ACK {oid}" for oid in common[:1])
    else:
        word = "common" if acks is Acks.DETAILED else "continue"
        yield from (f"ACK {oid} {word}" for oid in common)


def _sections(fetch: Fetch, common: Sequence[Oid], *, ready: bool, shallow: Shallow) -> tuple[bytes, bool]:
    answer = b""
    if fetch.haves and not fetch.done:
        lines = [f"ACK {oid}" for oid in common] or ["NAK"]
        lines += ["ready"] if ready else []
        answer = b"".join(map(_line, ["acknowledgments", *lines]))
        if not ready:
            return answer + Mark.FLUSH.value, False
        answer += Mark.DELIM.value
    if fetch.deepen or fetch.shallow:
        answer += _line("shallow-info") + _shallow_lines(shallow) + Mark.DELIM.value
    return answer + _line("packfile"), True


def _shallow_lines(shallow: Shallow) -> bytes:
    lines = [f"shallow {oid}" for oid in shallow.shallow] + [f"unshallow {oid}" for oid in shallow.unshallow]
    return b"".join(map(_line, lines))


def render_refusal(message: str) -> bytes:
    """A fetch that cannot be answered: git prints `fatal: remote error:` and the message."""
    return _line(f"ERR {_one_line(message)}")


# --- pushing ---


@dataclass(frozen=True, slots=True)
class Command:
    """A ref that is to go from `old` to `new`; `ZERO` is where there is none."""

    ref: str
    old: Oid
    new: Oid


@dataclass(frozen=True, slots=True)
class Push:
    """What a push asks for, and how it likes to be answered. `commands` is empty for a client that only knocks."""

    commands: tuple[Command, ...]
    abilities: frozenset[str] = frozenset()


def parse_push(packets: Iterator[Packet]) -> Push:
    """
    The commands of a push, taken up to the mark that ends them: the pack, if there is one, follows it. Of more than
    `COMMANDS` one too many is told, for whoever refuses them by name.
    """
    commands: list[Command] = []
    abilities: set[str] = set()
    for packet in packets:
        if packet is Mark.FLUSH:
            return Push(tuple(commands), frozenset(abilities))
        line, _, words = (packet if isinstance(packet, bytes) else packet.value).partition(b"\0")
        abilities.update(_text(words).split())
        text = _text(line)
        # Which commits the client has no parents of does not matter: what it sends must fit what is here.
        if not text.startswith("shallow ") and len(commands) <= COMMANDS:
            commands.append(_command(text))
    raise Invalid("The push ends before its commands do.")


def _command(line: str) -> Command:
    words = line.split(" ", 2)
    if len(words) != 3 or not words[2]:
        raise Invalid(f"hubreg does not know how to push with {line[:100]!r}.")
    return Command(words[2], _oid(words[0]), _oid(words[1]))


def render_report(
    push: Push, refused: str | Iterable[tuple[str, str]], messages: Sequence[str] = ()
) -> bytes:
    """
    What became of a push. `refused` is why the pack was not taken, or the refs that were not moved, with why;
    `messages` are shown to the person as they are.
    """
    lines = [f"unpack {_one_line(refused) if isinstance(refused, str) else 'ok'}"]
    reasons = (
        dict.fromkeys([c.ref for c in push.commands], "unpacker error")
        if isinstance(refused, str)
        else dict(refused)
    )
    for command in push.commands:
        reason = reasons.get(command.ref)
        lines.append(f"ok {command.ref}" if reason is None else f"ng {command.ref} {_one_line(reason)}")
    report = b"".join(map(_line, lines)) + Mark.FLUSH.value if "report-status" in push.abilities else b""
    if "side-band-64k" not in push.abilities:
        return report
    shown = "".join(f"{message}\n" for message in messages).encode("utf-8", "replace")
    packets = [*pktline.side_band(Band.PROGRESS, shown), *pktline.side_band(Band.PACK, report)]
    return b"".join(packets) + Mark.FLUSH.value


# --- lines ---


def _line(text: str) -> bytes:
    return pktline.encode(f"{text}\n".encode("utf-8", "replace"))


def _one_line(text: str) -> str:
    return " ".join(text.split())[:1000]


def _text(packet: Packet) -> str:
    if isinstance(packet, Mark):
        raise Invalid("The git request has a mark where a line should be.")
    try:
        return packet.removesuffix(b"\n").decode()
    except UnicodeDecodeError as error:
        raise Invalid("A line of the git request is not UTF-8.") from error


def _oid(text: str) -> Oid:
    if not _OID.fullmatch(text):
        raise Invalid(f"{text[:100]!r} is no git object id.")
    return Oid(text)


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise Invalid(f"{text[:100]!r} is no number.")
    return int(text)


def _packets(body: bytes) -> Iterator[Packet]:
    decoder = Decoder(len(body))
    decoder.feed(body)
    for _ in range(_LINES):
        packet = decoder.next_packet()
        if packet is None:
            decoder.close()
            return
        yield packet
    raise TooLarge(f"A git request may have {_LINES} lines.")


def _until(packets: Iterator[Packet], *marks: Mark) -> Iterator[Packet]:
    for packet in packets:
        if packet in marks:
            return
        yield packet
