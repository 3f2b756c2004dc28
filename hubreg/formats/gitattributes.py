"""
Which paths of a repo are kept in large file storage, and which an upload leaves out.

The root `.gitattributes` decides by `filter=lfs`, the last matching line winning, as in git; files of the
same name in folders are not read, as on the Hub. A `.gitignore` is read likewise. The texts come from the
outside: patterns are bounded in number and matched in linear time, and a line that makes no sense is skipped,
never refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from hubreg.formats import wildmatch

_LFS = "filter=lfs diff=lfs merge=lfs -text"


def _render(patterns: str) -> str:
    return "".join(f"{pattern} {_LFS}\n" for pattern in patterns.split())


# What a new repo begins with, byte for byte as the Hub's: 1519 bytes, blob
# a6344aac8c09253b3b630fb776ae94478aa0275b (HUB 8.4).
DEFAULT = _render(
    "*.7z *.arrow *.bin *.bz2 *.ckpt *.ftz *.gz *.h5 *.joblib *.lfs.* *.mlmodel *.model *.msgpack *.npy *.npz"
    " *.onnx *.ot *.parquet *.pb *.pickle *.pkl *.pt *.pth *.rar *.safetensors saved_model/**/* *.tar.* *.tar"
    " *.tflite *.tgz *.wasm *.xz *.zip *.zst *tfevents*"
)
# What a new dataset begins with on the Hub: 2461 bytes, blob 1ef325f1b111266a6b26e0196871bd78baa8c2f3.
DATASET = (
    _render(
        "*.7z *.arrow *.bin *.bz2 *.ckpt *.ftz *.gz *.h5 *.joblib *.lfs.* *.lz4 *.mds *.mlmodel *.model"
        " *.msgpack *.npy *.npz *.onnx *.ot *.parquet *.pb *.pickle *.pkl *.pt *.pth *.rar *.safetensors"
        " saved_model/**/* *.tar.* *.tar *.tflite *.tgz *.wasm *.xz *.zip *.zst *tfevents*"
    )
    + "# Audio files - uncompressed\n"
    + _render("*.pcm *.sam *.raw")
    + "# Audio files - compressed\n"
    + _render("*.aac *.flac *.mp3 *.ogg *.wav")
    + "# Image files - uncompressed\n"
    + _render("*.bmp *.gif *.png *.tiff")
    + "# Image files - compressed\n"
    + _render("*.jpg *.jpeg *.webp")
    + "# Video files - compressed\n"
    + _render("*.mp4 *.webm")
)

_BLANK = re.compile(r"[ \t\r]+")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_QUOTED_CHARACTER = re.compile(r"\\([abfnrtv\\\"]|[0-3][0-7]{2})")
_NAMED = dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True))
# Characters of patterns that no table answers, all together. Real files have under a thousand.
_PATTERN_BUDGET = 16_384
_PER_TRY = 100  # characters of a path that take as long as beginning to try a pattern on it

Found = tuple[int, bool]  # the place of a rule among its fellows, and what it says


class _Rules:
    """
    Patterns by what finds them: a dict for those without wildcards and for `*.ext`, a list for the rest.

    A repo may have a rule for each of its ten thousand files, so only the rest is tried one by one.
    """

    def __init__(self) -> None:
        self._paths: dict[str, Found] = {}
        self._names: dict[str, Found] = {}
        self._suffixes: dict[str, Found] = {}
        self._patterns: list[tuple[int, bool, bool, re.Pattern[bytes]]] = []
        self._budget = _PATTERN_BUDGET

    def add(self, place: int, pattern: str, says: bool) -> None:
        """A pattern with a slash is for the whole path, another for the last segment."""
        whole, pattern = "/" in pattern, pattern.removeprefix("/")
        text = wildmatch.literal(pattern)
        suffix = wildmatch.literal(pattern[1:]) if pattern.startswith("*.") and not whole else None
        if text is not None:
            (self._paths if whole else self._names)[text] = place, says
        elif suffix is not None:
            self._suffixes[suffix] = place, says
        elif len(pattern) <= self._budget:
            self._budget -= len(pattern)
            self._patterns.append((place, says, whole, wildmatch.compile_pattern(pattern)))

    def work(self, length: int, paths: int) -> int:
        """What `find` takes for so many paths of that length together, at most; one unit is a nanosecond at worst."""
        return (_PATTERN_BUDGET - self._budget) * (length + _PER_TRY * paths)

    def find(self, path: str) -> Found | None:
        """The last rule for a path."""
        name = path.rpartition("/")[2]
        suffixes = (self._suffixes.get(name[at:]) for at, c in enumerate(name) if c == ".")
        last = max(filter(None, [self._paths.get(path), self._names.get(name), *suffixes]), default=None)
        whole_path, last_segment = wildmatch.encode(path), wildmatch.encode(name)
        for place, says, whole, pattern in reversed(self._patterns):
            if last is not None and place < last[0]:
                break
            if pattern.fullmatch(whole_path if whole else last_segment):
                return place, says
        return last


class Attributes:
    """A `.gitattributes`, as far as it says which paths are in LFS."""

    def __init__(self, text: str) -> None:
        self._rules = _Rules()
        macros: dict[str, bool] = {}
        for place, line in enumerate(_lines(text)):
            pattern, attributes = _pattern_and_attributes(line)
            lfs = _says_lfs(attributes, macros)
            if lfs is None or pattern.startswith("!") or pattern.endswith("/"):
                continue  # nothing for us, forbidden, and a folder: none of them is a rule for a file
            if pattern.startswith("[attr]") and not line.startswith('"'):
                macros[pattern.removeprefix("[attr]")] = lfs
            else:
                self._rules.add(place, pattern, lfs)

    def work(self, paths: Iterable[str]) -> int:
        """What asking about these paths takes at most, in nanoseconds of a slow machine."""
        lengths = [len(path) for path in paths]
        return self._rules.work(sum(lengths), len(lengths))

    def is_lfs(self, path: str) -> bool:
        """Whether the last line for this path that speaks of `filter` says `filter=lfs`."""
        found = self._rules.find(path)
        return found is not None and found[1]


def _lines(text: str) -> Iterator[str]:
    for line in text.removeprefix("\ufeff").split("\n"):
        line = line.strip(" \t\r")
        if line and not line.startswith("#"):
            yield line


def _pattern_and_attributes(line: str) -> tuple[str, list[str]]:
    if match := _QUOTED.match(line):
        return _unquote(match[1]), _BLANK.split(line[match.end() :])
    pattern, *attributes = _BLANK.split(line)
    return pattern, attributes


def _says_lfs(attributes: list[str], macros: dict[str, bool]) -> bool | None:
    """What a line's attributes make of `filter`, the last one counting; None if they leave it alone."""
    says = None
    for attribute in attributes:
        name, _, value = attribute.lstrip("-!").partition("=")
        if name == "filter":
            says = attribute == "filter=lfs" and value == "lfs"
        elif attribute in macros:
            says = macros[attribute]
    return says


def _unquote(text: str) -> str:
    """
    A C-style string as git writes names with unusual characters; `\\303` and the like are bytes of UTF-8.
    """

    def character(match: re.Match[str]) -> str:
        what = match[1]
        return chr(int(what, 8)) if what.isdigit() else _NAMED.get(what, what)

    if not re.search(r"\\[0-3][0-7]{2}", text):
        return _QUOTED_CHARACTER.sub(character, text)
    raw = text.encode(errors="surrogatepass").decode("latin-1")
    return _QUOTED_CHARACTER.sub(character, raw).encode("latin-1").decode(errors="replace")


def rule_for(path: str) -> str:
    """
    The line, without its end, that puts exactly this path into LFS.

    The slash in front keeps it from meaning files of that name in every folder. Git cannot read a pattern
    with a blank unless it is in quotes.
    """
    pattern = "/" + wildmatch.escape(path)
    if re.search(r'[ \t\r\n"]', pattern):
        pattern = '"' + re.sub(r'([\\"])', r"\\\1", pattern).replace("\t", "\\t") + '"'
    return f"{pattern} {_LFS}"


class Ignore:
    """A `.gitignore` at the root."""

    def __init__(self, text: str) -> None:
        self._any, self._folders = _Rules(), _Rules()
        self._known: dict[str, bool] = {}  # folders that were asked about
        for place, line in enumerate(text.removeprefix("\ufeff").split("\n")):
            pattern = _trim_end(line.removesuffix("\r"))
            if pattern.startswith("#"):
                continue
            negated = pattern.startswith("!")
            pattern = pattern[1:] if negated else pattern
            rules = self._folders if pattern.endswith("/") else self._any
            pattern = pattern.removesuffix("/")
            if pattern:
                rules.add(place, pattern, not negated)

    def work(self, paths: Iterable[str]) -> int:
        """As of `Attributes`. Every folder on the way to a path is asked about as well."""
        length = count = 0
        for path in paths:
            length += len(path) + sum(at for at, c in enumerate(path) if c == "/")
            count += 1 + path.count("/")
        return self._any.work(length, count) + self._folders.work(length, count)

    def ignores(self, path: str) -> bool:
        """
        Whether the path or a folder that it is in is ignored: nothing re-includes what is in such a folder.
        """
        at = path.find("/")
        while at >= 0:
            folder = path[:at]
            if folder not in self._known:
                self._known[folder] = self._says(folder, folder=True)
            if self._known[folder]:
                return True
            at = path.find("/", at + 1)
        return self._says(path, folder=False)

    def _says(self, path: str, *, folder: bool) -> bool:
        found = [self._any.find(path), self._folders.find(path) if folder else None]
        return max(filter(None, found), default=(0, False))[1]


def _trim_end(line: str) -> str:
    """Without trailing blanks, unless a backslash keeps one."""
    trimmed = line.rstrip(" ")
    backslashes = len(trimmed) - len(trimmed.rstrip("\\"))
    return trimmed + " " if backslashes % 2 and len(trimmed) < len(line) else trimmed


_TEXT = bytes({7, 8, 9, 10, 11, 12, 13, 27} | set(range(0x20, 0x7F)) | set(range(0x80, 0x100)))


def looks_binary(sample: bytes) -> bool:
    """
    Whether the first bytes of a file are not text: a NUL, as git judges, or another byte that no text has.

    UTF-16 counts as binary, as in git; any 8-bit encoding counts as text.
    """
    return bool(sample.translate(None, delete=_TEXT))
