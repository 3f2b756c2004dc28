"""
The recorded answers of the real Hub, and a world in which the stand-in gives the same ones.

`replay` puts a recorded answer in the place of a computed one, byte for byte; `build` makes repos that have what was
recorded of them: ids, sizes, hashes. Their bytes were not kept, so most of them hold something else and say otherwise.
"""

from __future__ import annotations

import glob
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from tests.fakehub.answers import compact
from tests.fakehub.content import Declared, File, Generated, Plain, lfs, regular
from tests.fakehub.fake import FakeHub
from tests.fakehub.repos import Repo
from tests.fakehub.script import Fault

FOLDER = Path(__file__).parents[1] / "golden" / "hub"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))

GPT2 = "607a30d783dfa663caf39e06633721c8d4cfcd7e"
BERT = "dd4bc8b21efa05ec961e3efc4ee5e3832a3679c7"
TOKENS = {  # what a sample calls its caller -> a token in the world of `build`
    "anonymous": None,
    "signed URL": None,
    "xet token": None,
    "owner token": "hf_owner",
    "valid token": "hf_somebody",
    "token without access": "hf_somebody",
    "fine-grained token": "hf_somebody",
    "write token": "hf_somebody",
}


@dataclass(frozen=True)
class Sample:
    """One recorded answer. Header names are lower-case; `body` is None where none was kept."""

    name: str
    method: str
    path: str
    query: str
    auth: str
    sent: dict[str, str]
    posted: Any
    status: int
    headers: dict[str, str]
    body: Any

    @classmethod
    def load(cls, name: str) -> Self:
        data = json.loads((FOLDER / f"{name}.json").read_text())
        request = data["request"]
        path, _, query = request["path"].partition("?")
        return cls(
            name,
            request["method"],
            path,
            query,
            request["auth"],
            request["headers"],
            request.get("body"),
            data["status"],
            data["headers"],
            data["body"],
        )

    @property
    def content(self) -> bytes:
        """The recorded body as it was on the wire."""
        if self.body is None:
            return b""
        return self.body.encode() if isinstance(self.body, str) else compact(self.body)


def replay(hub: FakeHub, name: str, pattern: str = "", *, times: int | None = None) -> Fault:
    """
    Answer with a recorded answer, at its own URL or at another place.

    Its length is given as recorded only where the whole body was kept.
    """
    sample = Sample.load(name)
    whole = sample.headers.get("content-length") == str(len(sample.content))
    dropped = () if whole or sample.method == "HEAD" else ("content-length", "etag", "transfer-encoding")
    headers = [(key, value) for key, value in sample.headers.items() if key not in dropped]
    return hub.answer(
        pattern or glob.escape(sample.path),
        sample.status,
        headers,
        sample.content,
        times=times,
        method=sample.method,
    )


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def declared(size: int, *, oid: str = "", sha256: str = "", xet: str = "") -> File:
    """A file of which its ids were recorded: a large one if it has a SHA-256."""
    if sha256:
        return lfs(Declared(Generated(size, sha256="0" * 64), sha256=sha256, xet=xet))
    return regular(Declared(Plain(b"." * size), oid=oid))


def build(hub: FakeHub) -> None:
    """Put in what the samples ask for, at the Hub's own addresses."""
    hub.public_url, hub.cdn_public_url = "https://huggingface.co", "https://us.aws.cdn.hf.co"
    hub.cas_url = "https://cas-server.xethub.hf.co"
    hub.user("acme-user", token="hf_owner")
    hub.user("somebody", token="hf_somebody")
    hub.organizations["openai-community"] = Sample.load("org-overview-200").body
    hub.people["TheBloke"] = {"user": "TheBloke"}
    _datasets(hub)
    _private(hub)
    _gpt2(hub)
    _bert(hub)
    _others(hub)
    for name in ("agent-harnesses-200", "discussions-page-200", "whoami-v2-200"):
        replay(hub, name)


def _datasets(hub: FakeHub) -> None:
    squad = _listed(hub.dataset("rajpurkar/squad"), "list-datasets-entry-200")
    squad.commit({"README.md": "squad"}, id=squad.facts["sha"], date=moment(squad.facts["lastModified"]))
    one = lfs(b"a shard")
    c4 = hub.dataset("allenai/c4")
    c4.commit({f"en/c4-train.{number:05d}-of-01024.json.gz": one for number in range(1032)})
    math = Sample.load("dataset-info-200").body
    competition = _listed(hub.dataset(math["id"]), "dataset-info-200")
    competition.disabled = True
    competition.commit({"README.md": "math"}, id=math["sha"], date=moment(math["lastModified"]))


def _listed(repo: Repo, name: str) -> Repo:
    """A repo with everything that a sample says of it."""
    body = Sample.load(name).body
    said = body[0] if isinstance(body, list) else body
    repo.public_id = said["_id"]
    repo.facts |= {key: value for key, value in said.items() if key not in ("_id", "siblings")}
    return repo


def _private(hub: FakeHub) -> None:
    """acme-user/test. Its tree is recorded in full: even the folder's id comes out right."""
    repo = _listed(hub.model("acme-user/test", private=True), "model-info-revision-private-200")
    text = Sample.load("resolve-get-regular-private-200").body
    _, large, _ = Sample.load("tree-recursive-private-200").body
    repo.commit(
        {
            "regression/ref-lfs.bin": declared(
                large["size"], sha256=large["lfs"]["oid"], xet=large["xetHash"]
            ),
            "regression/ref-regular.txt": text,
        },
        id="bcf51b2ec6fb5bc8215f4b365a0e48532e26abb8",
        date=moment("2026-09-25T08:49:23.000Z"),
    )


def _gpt2(hub: FakeHub) -> None:
    repo = _listed(hub.model("openai-community/gpt2"), "model-info-expand-200")
    hub.alias("gpt2", repo)
    for number in range(25):
        repo.commit({".gitattributes": f"{number}"})
    (last,) = Sample.load("commits-page-200").body
    config, model = Sample.load("model-info-siblings-blobs-200").body["siblings"]
    xet = Sample.load("resolve-head-xet-public-302").headers["x-xet-hash"]
    repo.commit(
        {
            "config.json": declared(config["size"], oid=config["blobId"]),
            "model.safetensors": declared(model["size"], sha256=model["lfs"]["sha256"], xet=xet),
        },
        remove=[".gitattributes"],
        id=GPT2,
        title=last["title"],
        message=last["message"],
        authors=tuple(last["authors"]),
        date=moment(last["date"]),
    )
    (pull,) = Sample.load("refs-200").body["pullRequests"]
    repo.commit({"README.md": "a pull request"}, on=pull["ref"], id=pull["targetCommit"])


def _bert(hub: FakeHub) -> None:
    repo = _listed(hub.model("google-bert/bert-base-uncased"), "list-models-page-200")
    (last,) = Sample.load("tree-expand-entry-200").body
    files = {}
    for item in Sample.load("tree-bert-200").body:
        large = item.get("lfs", {}).get("oid", "")
        files[item["path"]] = declared(
            item["size"], oid=item["oid"], sha256=large, xet=item.get("xetHash", "")
        )
    title, date = last["lastCommit"]["title"], moment(last["lastCommit"]["date"])
    repo.commit(files, id=BERT, title=title, date=date)


def _others(hub: FakeHub) -> None:
    """Repos of which one answer was recorded."""
    quantized = hub.model("mlx-community/Qwen3.5-9B-4bit")
    config = declared(1000, oid="0435ae3f4b3c8b907f7359a2f8f7150d316f3435")
    quantized.commit({"config.json": config}, id="8b2b98c00a6b4d291155e4890773ca8f769aee53")
    hub.model("Qwen/Qwen3.5-0.8B-Base").commit(
        {"config.json": "{}"}, id="dc7cdfe2ee4154fa7e30f5b51ca41bfa40174e68"
    )
    hub.model("Qwen/Qwen3-235B-A22B").commit({"config.json": "{}"})
    hub.model("dicta-il/BEREL").commit({"config.json": "{}"})
    hub.model("TheBloke/Llama-2-7B-GGUF").commit({"config.json": "{}"})
    llama = hub.model("meta-llama/Meta-Llama-3.1-8B", gated="manual")
    hub.rename(llama, "meta-llama/Llama-3.1-8B")
    hub.model("meta-llama/Llama-3.1-8B-Instruct", gated="manual")
    hub.model("owner/name", gated="auto")
    hub.model("owner/disabled").disabled = True
    chan = _listed(hub.model("ykilcher/gpt-4chan", gated="auto"), "model-info-disabled-200")
    chan.disabled = True
    chan.commit({}, id=chan.facts["sha"], date=moment(chan.facts["lastModified"]))
    kernel = _listed(hub.repo("kernel", "kernels-community/flash-attn2"), "kernel-info-200")
    kernel.commit({}, id=kernel.facts["sha"], date=moment(kernel.facts["lastModified"]))
    head, ranged = Sample.load("cdn-head-200"), Sample.load("cdn-get-range-206-full-headers")
    sizes = int(head.headers["content-length"]), int(ranged.headers["content-range"].rpartition("/")[2])
    sha256 = "72c5c3cb38fa32d5256e2fe30d03e7a64c6c79e668ad84057e3bd66e250b24fb"
    hub.model("onnx/models").commit(
        {
            "decoder_model.onnx": declared(sizes[0], sha256=sha256, xet="e864889b".ljust(64, "0")),
            "encoder_model.onnx": declared(sizes[1], sha256="1" * 64, xet="2a37684e".ljust(64, "0")),
        }
    )
