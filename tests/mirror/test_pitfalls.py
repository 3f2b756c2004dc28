"""
What proxies of the Hub get wrong, item by item (PITFALLS): which tests show that this one does not.

The tests of most items stand where the code's other tests do; here are those of the mirror as a whole.
"""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from hubreg.api.asgi import Api
from tests.fakehub import Repo, lfs
from tests.fakehub.recorded import declared
from tests.mirror.conftest import NAME, Mirrored

pytestmark = pytest.mark.anyio

TESTS = Path(__file__).parents[1]
FILE_INFO = "application/vnd.xet-fileinfo+json"
INFO = f"/api/models/{NAME}"

# fmt: off
ITEMS: dict[int, tuple[str, ...]] = {
    # metadata of files
    1: ("mirror/test_sync::test_a_repo_that_only_upstream_has", "mirror/test_sync::test_files_that_are_not_there",
        "api/test_resolve::test_a_file_that_is_not_there"),
    2: ("mirror/test_transport::test_a_relative_307_of_a_small_file_is_followed",
        "mirror/test_pitfalls::test_no_answer_leads_upstream"),
    3: ("mirror/test_sync::test_large_files_have_their_sha256", "api/test_resolve::test_head_says_what_get_does",
        "mirror/test_pitfalls::test_sizes_are_the_content_s"),
    4: ("mirror/test_sync::test_large_files_have_their_sha256", "mirror/test_contents::test_a_small_file",
        "mirror/test_upstream::test_what_a_listing_says_of_files"),
    5: ("mirror/test_pitfalls::test_what_the_caller_accepts_is_not_passed_on",
        "mirror/test_transport::test_a_range_that_is_ignored_is_told", "mirror/test_transport::test_json_is_unpacked"),
    6: ("mirror/test_pitfalls::test_a_file_without_bytes", "mirror/test_flights::test_a_file_without_bytes",
        "api/test_resolve::test_a_range_of_an_empty_file"),
    7: ("mirror/test_sync::test_a_whole_commit_id_asks_upstream_once",
        "mirror/test_sync::test_the_first_file_does_not_wait_for_a_long_listing"),
    # errors
    8: ("mirror/test_sync::test_failures_are_no_absence", "mirror/test_upstream::test_failures_are_not_facts",
        "mirror/test_rights::test_a_failure_is_no_refusal", "mirror/test_sync::test_a_failure_chooses_no_reading"),
    9: ("mirror/test_sync::test_failures_are_no_absence", "api/test_clients::test_5_every_refusal_has_its_code",
        "api/test_boundary::test_every_error_of_a_file_is_text"),
    10: ("mirror/test_upstream::test_rights", "mirror/test_rights::test_a_gate"),
    11: ("mirror/test_rights::test_the_server_s_token_is_nobody_s_right",
         "mirror/test_rights::test_a_right_is_remembered_and_ends",
         "mirror/test_rights::test_a_private_repo_that_only_the_caller_can_read"),
    12: ("mirror/test_sync::test_a_repo_is_of_one_upstream", "mirror/test_rules::test_a_repo_stays_with_its_upstream"),
    # redirects and leaks
    13: ("mirror/test_sync::test_all_pages", "mirror/test_pitfalls::test_no_answer_leads_upstream",
         "mirror/test_upstream::test_a_link_to_another_host_is_followed_at_the_upstream"),
    14: ("mirror/test_transport::test_a_file_comes_from_the_cdn_and_the_token_does_not_go_there",
         "mirror/test_transport::test_a_redirect_to_another_host_is_refused",
         "mirror/test_transport::test_a_redirect_to_a_private_address_is_refused",
         "mirror/test_pitfalls::test_no_answer_leads_upstream"),
    15: ("mirror/test_sync::test_all_pages", "mirror/test_upstream::test_all_pages_of_a_tree",
         "mirror/test_upstream::test_a_listing_that_never_ends", "api/test_tree::test_pages"),
    16: ("mirror/test_transport::test_a_post_is_sent_again_where_it_is_redirected",
         "mirror/test_sync::test_other_names"),
    17: ("mirror/test_pitfalls::test_below_a_prefix",
         "api/test_boundary::test_the_public_urls_path_is_taken_off_and_put_back"),
    18: ("mirror/test_sync::test_other_names", "mirror/test_upstream::test_other_names_lead_to_the_repo"),
    # Xet
    19: ("mirror/test_pitfalls::test_upstream_s_xet_is_seen_nowhere",
         "mirror/test_pitfalls::test_tokens_for_xet_are_ours", "api/test_xet::test_listings_agree_with_resolve"),
    20: ("mirror/test_pitfalls::test_accept_is_part_of_what_varies", "api/test_xet::test_file_info_for_javascript"),
    21: ("api/test_xet::test_resolve_offers_xet",),
    # ranges and caching
    22: ("mirror/test_contents::test_ranges_of_what_comes", "api/test_resolve::test_a_range_past_the_end",
         "mirror/test_contents::test_who_has_a_part_of_a_wrong_file_gets_it_from_its_beginning"),
    23: ("mirror/test_flights::test_an_expired_url_is_replaced",
         "mirror/test_transport::test_an_expired_url_may_be_right_the_next_time"),
    24: ("mirror/test_flights::test_a_cut_connection_is_gone_on_from_there",
         "mirror/test_flights::test_a_wrong_byte_is_never_completed_nor_kept",
         "mirror/test_transport::test_a_cut_body_gives_what_came_and_then_fails"),
    25: ("mirror/test_sync::test_a_name_is_asked_for_again_when_its_time_is_over",
         "mirror/test_sync::test_a_fleet_is_one_call"),
    26: ("mirror/test_sync::test_files_that_are_not_there",
         "mirror/test_sync::test_absence_is_remembered_for_a_while"),
    # listings
    27: ("mirror/test_sync::test_a_repo_that_only_upstream_has", "mirror/test_sync::test_history_is_upstream_s",
         "mirror/test_sync::test_every_route_has_names_of_one_segment", "mirror/test_upstream::test_refs"),
    28: ("api/test_routes::test_a_revision_may_be_a_whole_ref", "mirror/test_upstream::test_revisions_are_one_segment",
         "mirror/test_sync::test_pull_requests_tags_and_short_ids"),
    29: ("mirror/test_pitfalls::test_spellings_of_paths_and_flags",
         "api/test_routes::test_an_encoded_slash_belongs_to_its_part",
         "api/test_clients::test_9_flags_are_spelled_in_three_ways"),
    30: ("mirror/test_pitfalls::test_sizes_are_the_content_s", "mirror/test_pitfalls::test_nothing_is_null",
         "api/test_clients::test_what_is_not_known_is_left_out"),
    # uploads, to repos of this server
    31: ("api/test_lfs::test_a_file_in_parts", "api/test_lfs::test_an_altered_url_is_worth_nothing",
         "api/test_boundary::test_every_absolute_url_begins_with_the_public_url"),
    32: ("hub/test_uploads::test_a_large_file_is_offered_in_parts", "api/test_lfs::test_a_file_in_parts"),
    33: ("api/test_commits::test_preupload_is_like_the_hubs", "api/test_site::test_nonsense_is_answered_in_json"),
    34: ("api/test_repos::test_create_is_like_the_hubs", "api/test_repos::test_create_where_there_is_one"),
    35: ("api/test_commits::test_one_line_may_hold_ten_megabytes",),
    36: ("api/test_commits::test_all_that_a_commit_may_say", "api/test_commits::test_a_stale_parent_is_told"),
    # operations
    37: ("mirror/test_flights::test_32_readers_are_one_flight", "mirror/test_flights::test_it_goes_on_without_readers",
         "mirror/test_sync::test_a_fleet_is_one_call"),
    38: ("mirror/test_rights::test_tokens_are_sealed", "mirror/test_pitfalls::test_no_answer_leads_upstream",
         "mirror/test_transport::test_a_file_comes_from_the_cdn_and_the_token_does_not_go_there"),
    39: ("mirror/test_pitfalls::test_scripts_of_other_origins_may_read_what_they_need",
         "api/test_boundary::test_the_origin_is_echoed", "api/test_boundary::test_a_preflight_is_answered"),
    40: ("mirror/test_pitfalls::test_what_every_start_asks_is_answered_here",
         "api/test_site::test_telemetry_goes_nowhere", "api/test_clients::test_1_agent_harnesses_is_an_object"),
}
# fmt: on


@pytest.mark.parametrize("item", range(1, 41))
def test_every_item_has_its_tests(item: int) -> None:
    """Each that is named here exists."""
    assert ITEMS[item]
    for named in ITEMS[item]:
        module, name = named.split("::")
        tree = ast.parse((TESTS / f"{module}.py").read_text())
        assert name in {
            node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }


# the mirror as a whole


async def everything(hub: Mirrored, model: Repo) -> list[httpx.Response]:
    """Answers of every kind about a repo with a large file and a small one, each file before and after it has come."""
    sha = model.head()
    files = [f"/{NAME}/resolve/{revision}/{path}" for revision in ("main", sha) for path in
             ("config.json", "data/weights.bin", "none.json")]  # fmt: skip
    found = []
    async with hub.client() as client:
        for _ in range(2):
            for path in (
                *[
                    INFO,
                    f"{INFO}?blobs=true",
                    f"{INFO}/revision/{sha}?expand[]=siblings",
                    "/api/models?full=true",
                ],
                *[f"{INFO}/tree/main?recursive=true&limit=1", f"{INFO}/tree/{sha}/data?expand=true"],
                *[
                    f"{INFO}/refs",
                    f"{INFO}/commits/main?limit=1",
                    f"/{NAME}/raw/{sha}/data/weights.bin",
                    *files,
                ],
            ):
                found.append(await client.get(path))
                found.append(await client.head(path, headers={"Accept": f"{FILE_INFO}, */*"}))
            paths = {"paths": ["data/weights.bin"], "expand": True}
            found.append(await client.post(f"{INFO}/paths-info/{sha}", json=paths))
            await landed(hub, 2)
    assert {answer.status_code for answer in found} == {200, 307, 404}
    return found


async def landed(hub: Mirrored, count: int) -> None:
    """Return when that many contents have come."""
    while len(await hub.app.db.all("SELECT sha256 FROM mirror_blobs")) < count:  # noqa: ASYNC110 a row is no event
        await asyncio.sleep(0.01)


async def test_upstream_s_xet_is_seen_nowhere(hub: Mirrored, model: Repo) -> None:
    """PITFALLS 19: neither its headers and links, nor `xetHash` in any listing, nor the file's Xet hash as an ETag."""
    file = model.commits[model.head()].files["data/weights.bin"]
    assert file.xet_hash is not None
    model.commit({f"{n}.txt": b"x" for n in range(3)})
    for answer in await everything(hub, model):
        said = f"{answer.headers!r} {answer.text}"
        assert "x-xet" not in said.lower().replace("x-linked-etag,x-xet-hash", "")
        assert "xetHash" not in said
        assert "xet-auth" not in said
        assert file.xet_hash not in said
        assert hub.fake.cas_url not in said


async def test_tokens_for_xet_are_ours(hub: Mirrored, model: Repo) -> None:
    """PITFALLS 19: who asks for one is sent to this server, and upstream is not asked."""
    await hub.get(INFO)
    hub.fake.forget()
    answer = await hub.get(f"{INFO}/xet-read-token/{model.head()}")
    assert answer.json()["casUrl"].startswith("http://hub.test/cas/")
    assert answer.headers["x-xet-cas-url"] == answer.json()["casUrl"]
    assert hub.calls("xet-read-token") == 0


async def test_no_answer_leads_upstream(hub: Mirrored, model: Repo) -> None:
    """PITFALLS 2, 13, 14, 38: nothing has an address of upstream or of its CDN, or a signed URL's query."""
    model.commit({f"{n}.txt": b"x" for n in range(3)})
    for answer in await everything(hub, model):
        said = f"{answer.headers!r} {answer.text}"
        for address in (hub.fake.url, hub.fake.cdn_url, "resolve-cache", "Signature=", "huggingface.co"):
            assert address not in said
        if link := answer.headers.get("link"):
            assert link.startswith("<http://hub.test/api/models/")
        assert answer.headers.get("location", "/").startswith("/")


async def test_below_a_prefix(hub: Mirrored, model: Repo) -> None:
    """PITFALLS 17: redirects and links of mirrored repos have the path that this server is mounted at."""
    hub.api = Api(replace(hub.app, config=replace(hub.app.config, public_url="https://example.org/hub")))
    first = await hub.head(f"/hub/{NAME}/resolve/main/config.json")
    assert first.headers["location"] == f"/hub/{NAME}/resolve/{model.head()}/config.json"
    assert (await hub.head(first.headers["location"])).status_code == 200
    assert (await hub.get("/hub/api/models/org/model")).headers["location"] == f"/hub{INFO}"
    link = (await hub.get(f"/hub{INFO}/tree/main?recursive=1&limit=1")).headers["link"]
    assert link.startswith(f"<https://example.org/hub{INFO}/tree/{model.head()}?")


async def test_what_the_caller_accepts_is_not_passed_on(hub: Mirrored, model: Repo) -> None:
    """PITFALLS 5: files are asked for as they are, and come with their own length, whatever the caller takes."""
    model.commit({"big.txt": b"a" * 100_000})
    async with hub.client() as client:
        for _ in range(2):
            answer = await client.get(
                f"/{NAME}/resolve/{model.head()}/big.txt", headers={"Accept-Encoding": "gzip, br"}
            )
            assert (answer.headers["content-length"], len(answer.content)) == ("100000", 100_000)
            assert not {"content-encoding", "transfer-encoding"} & set(answer.headers)
    asked = hub.fake.seen("big.txt")
    assert asked
    assert {seen.headers.get("accept-encoding") for seen in asked} == {"identity"}


async def test_a_file_without_bytes(hub: Mirrored, model: Repo) -> None:
    """PITFALLS 6: whole, by any range, before and after it has come."""
    model.commit({"empty.txt": b"", "empty.bin": lfs(b"")})
    async with hub.client() as client:
        for path in ("empty.txt", "empty.bin") * 2:
            url = f"/{NAME}/resolve/{model.head()}/{path}"
            for headers in ({}, {"Range": "bytes=0-"}, {"Range": "bytes=0-0"}):
                answer = await client.get(url, headers=headers)
                assert (answer.status_code, answer.content, answer.headers["content-length"]) == (
                    200,
                    b"",
                    "0",
                )


async def test_accept_is_part_of_what_varies(hub: Mirrored, model: Repo) -> None:
    """PITFALLS 20: the same URL may be JSON to who asks for it so."""
    for revision in ("main", model.head()):
        answer = await hub.head(f"/{NAME}/resolve/{revision}/data/weights.bin")
        assert "Accept" in answer.headers["vary"]


async def test_sizes_are_the_content_s(hub: Mirrored, model: Repo) -> None:
    """PITFALLS 3, 30: beyond 32 bits, never a redirect's or a pointer's; sha256 and oid are each in its place."""
    size, sha256 = 5 << 30, "ab" * 32
    model.commit({"huge.bin": declared(size, sha256=sha256)})
    [item] = (await hub.get(f"{INFO}/tree/main")).json()[-1:]
    assert (item["size"], item["lfs"]["size"], item["lfs"]["oid"]) == (size, size, sha256)
    assert item["oid"] == model.commits[model.head()].files["huge.bin"].oid != sha256
    siblings = (await hub.get(f"{INFO}?blobs=true")).json()["siblings"]
    [sibling] = [each for each in siblings if each["rfilename"] == "huge.bin"]
    assert (sibling["size"], sibling["blobId"], sibling["lfs"]["sha256"]) == (size, item["oid"], sha256)
    by_name = await hub.head(f"/{NAME}/resolve/main/huge.bin")
    assert (by_name.headers["x-linked-size"], by_name.headers["x-linked-etag"]) == (str(size), f'"{sha256}"')
    assert int(by_name.headers["content-length"]) < 1000
    assert (await hub.head(by_name.headers["location"])).headers["content-length"] == str(size)


async def test_nothing_is_null(hub: Mirrored, model: Repo) -> None:
    """PITFALLS 30: what is not known is left out, but for the one key that the Hub itself has null."""
    found = set()
    for path in (
        "?blobs=true",
        "/tree/main?recursive=true&expand=true",
        "/commits/main",
        "/refs?include_prs=true",
    ):
        found |= set(_nulls((await hub.get(f"{INFO}{path}")).json()))
    assert found <= {"model-index"}


def _nulls(value: Any, key: str = "") -> Iterator[str]:
    if value is None:
        yield key
    elif isinstance(value, dict):
        for name, below in value.items():
            yield from _nulls(below, name)
    elif isinstance(value, list):
        for below in value:
            yield from _nulls(below, key)


async def test_spellings_of_paths_and_flags(hub: Mirrored, model: Repo) -> None:
    """PITFALLS 29: a folder encoded or not, `recursive` in three ways, `expand[]` or `expand`."""
    model.commit({"a/b/c.txt": b"c"})
    folders = [(await hub.get(f"{INFO}/tree/main/{path}")).json() for path in ("a%2Fb", "a/b")]
    assert [item["path"] for item in folders[0]] == ["a/b/c.txt"]
    assert folders[0] == folders[1]
    trees = [(await hub.get(f"{INFO}/tree/main?recursive={text}")).json() for text in ("true", "True", "1")]
    assert trees[0] == trees[1] == trees[2]
    assert "a/b/c.txt" in {item["path"] for item in trees[0]}
    assert (await hub.get(f"{INFO}?expand[]=sha")).json() == (await hub.get(f"{INFO}?expand=sha")).json()


async def test_scripts_of_other_origins_may_read_what_they_need(hub: Mirrored, model: Repo) -> None:
    """PITFALLS 39: of files and of refusals; never with credentials."""
    async with hub.client() as client:
        for path in (f"/{NAME}/resolve/main/config.json", f"/{NAME}/resolve/main/none", INFO):
            answer = await client.get(path, headers={"Origin": "https://app.example"})
            assert answer.headers["access-control-allow-origin"] == "https://app.example"
            assert "x-repo-commit" in answer.headers["access-control-expose-headers"].lower()
            assert "access-control-allow-credentials" not in answer.headers


async def test_what_every_start_asks_is_answered_here(hub: Mirrored, model: Repo) -> None:
    """PITFALLS 40: upstream hears nothing of it, and need not be there."""
    hub.fake.forget()
    hub.fake.stop()
    asked = [
        await hub.get("/api/agent-harnesses"),
        await hub.head("/api/telemetry/transformers/4.50"),
        await hub.get("/api/whoami-v2", hub.ann),
        await hub.get("/api/whoami-v2"),
    ]
    assert [answer.status_code for answer in asked] == [200, 200, 200, 401]
    hub.fake.start()
    assert hub.calls() == 0
