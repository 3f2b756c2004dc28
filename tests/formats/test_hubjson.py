"""The Hub's JSON: what is rendered can be read again, and what the real Hub sent can be read too."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubreg.errors import Invalid
from hubreg.formats import hubjson
from hubreg.formats.hubjson import EXPANDABLE, RepoInfo, Sibling, TreeItem
from hubreg.model import Entry, EntryKind, Millis, Oid, RepoType, Sha256

GOLDEN = Path(__file__).parents[1] / "golden"


def recorded(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text())["body"]


paths = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=40)
oids = st.text("0123456789abcdef", min_size=40, max_size=40).map(Oid)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    path, oid = draw(paths), draw(oids)
    if draw(st.booleans()):
        return Entry(path, EntryKind.DIRECTORY, oid)
    lfs = draw(st.booleans())
    size = draw(st.integers(0, 2**53))
    return Entry(path, EntryKind.FILE, oid, size, Sha256("a" * 64), lfs, 130 if lfs else 0)


@given(st.integers(0, 4_102_444_800_000))
def test_times_are_exact_to_the_millisecond(at: int) -> None:
    """Three digits and a Z, and the moment that was meant."""
    text = hubjson.iso(Millis(at))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    assert round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000) == at


@given(entries(), st.booleans())
def test_an_entry_is_read_as_it_was_rendered(entry: Entry, expand: bool) -> None:
    """The same item comes back, and what has no value has no key."""
    item = hubjson.tree_item(entry, expand=expand)
    data = hubjson.encode(item)
    assert msgspec.json.decode(data, type=TreeItem) == item
    keys = set(json.loads(data))
    assert ("lfs" in keys) == entry.lfs
    assert ("securityFileStatus" in keys) == (expand and entry.kind is EntryKind.FILE)
    assert "xetHash" not in keys


@given(entries(), st.booleans())
def test_a_sibling_is_read_as_it_was_rendered(entry: Entry, blobs: bool) -> None:
    """Its size and ids only when they were asked for; in siblings the sha256 is called so (PITFALLS 30)."""
    data = hubjson.encode(hubjson.sibling(entry, blobs=blobs))
    read = msgspec.json.decode(data, type=Sibling)
    assert read.rfilename == entry.path
    if not blobs:
        assert list(json.loads(data)) == ["rfilename"]
    elif entry.lfs:
        assert isinstance(read.lfs, hubjson.SiblingLfs)
        assert read.lfs.sha256 == entry.sha256


@given(st.binary(min_size=1, max_size=20))
def test_a_path_that_is_no_utf8_can_still_be_listed(name: bytes) -> None:
    """git holds any bytes; JSON holds text, so what is none is replaced."""
    entry = Entry(name.decode("utf-8", "surrogateescape"), EntryKind.FILE, Oid("0" * 40), 1)
    item = json.loads(hubjson.encode(hubjson.tree_item(entry)))
    assert item["path"] == name.decode("utf-8", "replace")
    assert json.loads(hubjson.encode(hubjson.sibling(entry)))["rfilename"] == item["path"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("tree-recursive-private-200", list[TreeItem]),
        ("tree-expand-entry-200", list[TreeItem]),
        ("paths-info-200", list[TreeItem]),
        ("model-info-revision-private-200", RepoInfo),
        ("model-info-expand-200", RepoInfo),
        ("model-info-siblings-blobs-200", RepoInfo),
        ("dataset-info-200", RepoInfo),
        ("list-models-page-200", list[RepoInfo]),
        ("list-datasets-entry-200", list[RepoInfo]),
        ("commits-page-200", list[hubjson.CommitItem]),
        ("refs-200", hubjson.RefLists),
        ("commit-200", hubjson.CommitDone),
        ("preupload-200", hubjson.UploadModes),
        ("preupload-existing-200", hubjson.UploadModes),
        ("whoami-v2-org-shape", hubjson.Whoami),
        ("discussions-page-200", hubjson.DiscussionPage),
        ("org-overview-200", hubjson.OrgOverview),
    ],
)
def test_what_the_hub_sent_can_be_read(name: str, kind: Any) -> None:
    """Every recorded body, unknown keys and all; what is read keeps the values of the keys that are known."""
    body = recorded(name)
    value = msgspec.json.decode(json.dumps(body), type=kind)
    again = json.loads(hubjson.encode(value))
    first, second = (body[0], again[0]) if isinstance(body, list) else (body, again)
    assert {key: first[key] for key in second if key in first} == {
        k: v for k, v in second.items() if k in first
    }


@pytest.mark.parametrize("type_", list(RepoType))
def test_expand_takes_what_there_is(type_: RepoType) -> None:
    """Every documented value and the two that are not; the first other one is named by its place."""
    hubjson.check_expand(type_, [*EXPANDABLE[type_], "xetEnabled", "gitalyUid"])
    with pytest.raises(Invalid, match=re.escape("at expand[1]")) as caught:
        hubjson.check_expand(type_, ["author", "nope", "worse"])
    options = re.findall(r'"([^"]+)"', caught.value.message.split("expected one of ", 1)[1])
    assert set(EXPANDABLE[type_]) <= set(options)


def test_what_was_chosen_of_a_repo() -> None:
    """The ids always, then the keys that were named and have a value, in the Hub's order."""
    info = RepoInfo(public_id="0" * 24, id="a/b", author="a", likes=0, pipeline_tag="fill-mask")
    assert list(hubjson.chosen(info, ["pipeline_tag", "author", "gguf"])) == [
        "_id",
        "id",
        "author",
        "pipeline_tag",
    ]
    assert hubjson.chosen(info, []) == {"_id": "0" * 24, "id": "a/b"}


def test_tags_by_kind() -> None:
    """A prefix is a kind, a known task is one, the rest is `other`."""
    kinds = hubjson.tags_by_type(["license:mit", "fill-mask", "tiny", "dataset:a:b"])
    assert kinds == {
        "license": [{"id": "license:mit", "label": "mit", "type": "license"}],
        "pipeline_tag": [{"id": "fill-mask", "label": "fill-mask", "type": "pipeline_tag"}],
        "other": [{"id": "tiny", "label": "tiny", "type": "other"}],
        "dataset": [{"id": "dataset:a:b", "label": "a:b", "type": "dataset"}],
    }
