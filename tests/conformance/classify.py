#!/usr/bin/env python3
"""Write testlists/VERSION.tsv from a run against the dummy server.

    run_conformance.py --endpoint http://127.0.0.1:P --tree TREE --python PY --subset all --json dummy.json
    classify.py dummy.json TREE > testlists/VERSION.tsv

A test is *networked* when it sent (or tried to send) a request to the endpoint or to a public Hub host, or failed
because a shared fixture did. Category and tier come from RULES (first match wins); `source` says whether the test
creates what it needs (`own`), reads repos that exist on the production Hub (`seeded`), or neither (`none`).
"""

import ast
import collections
import fnmatch
import json
import pathlib
import re
import sys
import urllib.parse


# pattern over "file.py::Class::test" -> (tier, category)
RULES = [
    # --- never about the server
    ("test_utils_http.py::test_fix_hf_endpoint*", ("local", "client")),
    ("test_utils_http.py::test_*client_get_request", ("local", "client")),
    ("test_utils_http.py::TestUniqueRequestId*", ("A", "http.request-id")),
    ("test_utils_http.py*", ("local", "client")),
    ("test_hf_api.py::TestRepoUrl*", ("local", "client")),
    ("test_offline_utils.py*", ("local", "client")),
    ("test_sandbox.py*", ("local", "client")),
    ("test_hub_mixin.py::TestHubMixin::test_from_pretrained_model_id*", ("local", "client")),
    ("test_cli.py::TestRepoTypePrefix*", ("local", "client")),
    ("test_testing_configuration.py*", ("local", "client")),
    # --- SaaS only
    ("test_inference*", ("C", "inference")),
    ("test_hf_api.py::TestHfApiInference*", ("C", "inference")),
    ("test_hf_api.py::TestPaperApi*", ("C", "papers")),
    ("test_hf_api.py::TestSpaceAPI*", ("C", "spaces-runtime")),
    ("test_hf_api.py::*test_search_spaces", ("C", "spaces-runtime")),
    ("test_hf_api.py::*inference_provider*", ("C", "inference")),
    ("test_hf_api.py::*leaderboard*", ("C", "leaderboard")),
    ("test_hf_api.py::*list_dataset_parquet_files", ("C", "dataset-viewer")),
    ("test_cli.py::TestDatasetsSql*", ("C", "dataset-viewer")),
    ("test_cli.py::TestDatasetsParquet*", ("C", "dataset-viewer")),
    ("test_cli.py::TestSpacesHardware*", ("C", "spaces-runtime")),
    ("test_cli.py::TestSpacesLogs*", ("C", "spaces-runtime")),
    ("test_cli.py::TestInferenceEndpoints*", ("C", "inference")),
    ("test_cli.py::TestSkills*", ("C", "skills")),
    ("test_cli.py::TestPapers*", ("C", "papers")),
    ("test_jobs_api.py*", ("C", "jobs")),
    ("test_oauth.py::test_oauth_workflow", ("C", "oauth")),
    # --- tier A
    ("test_hf_api.py::TestHfApiEndpoints::*whoami*", ("A", "auth.whoami")),
    ("test_hf_api.py::TestHfApiEndpoints*", ("A", "repo.manage")),
    ("test_hf_api.py::TestHfApiAuthCheck*", ("A", "auth.check")),
    ("test_hf_api.py::TestCommitApi::test_create_repo*", ("A", "repo.manage")),
    ("test_hf_api.py::TestCommitApi::test_update_repo*", ("A", "repo.manage")),
    ("test_hf_api.py::TestCommitApi::test_get_full_repo_name", ("A", "auth.whoami")),
    ("test_hf_api.py::TestCommitApi::*modelcard*", ("B", "cards")),
    ("test_hf_api.py::TestCommitApi::*create_pr*", ("A", "commit.pr")),
    ("test_hf_api.py::TestCommitApi::test_empty_commit_on_pr", ("A", "commit.pr")),
    ("test_hf_api.py::TestCommitApi*", ("A", "commit")),
    ("test_hf_api.py::TestCommitInBackground*", ("A", "commit")),
    ("test_hf_api.py::TestHfApiUploadEmptyFile*", ("A", "commit")),
    ("test_hf_api.py::TestHfApiDelete*", ("A", "commit")),
    ("test_hf_api.py::TestHfApiRepoFileExists*", ("A", "download")),
    ("test_hf_api.py::TestHfApiListRepoTree*", ("A", "tree")),
    ("test_hf_api.py::TestHfApiVerifyChecksums*", ("A", "tree")),
    ("test_hf_api.py::*test_get_paths_info", ("A", "tree")),
    ("test_hf_api.py::*test_list_repo_files*", ("A", "tree")),
    ("test_hf_api.py::TestHfApiTag*", ("A", "refs")),
    ("test_hf_api.py::TestHfApiBranch*", ("A", "refs")),
    ("test_hf_api.py::TestListGitRefs*", ("A", "refs")),
    ("test_hf_api.py::TestListGitCommits*", ("A", "commits")),
    ("test_hf_api.py::TestHfApiPrivate*", ("A", "repo.info")),
    ("test_hf_api.py::*safetensors*", ("A", "safetensors")),
    ("test_hf_api.py::TestHfApiPublicProduction::test_model_info_with_security", ("B", "search-info")),
    ("test_hf_api.py::TestHfApiPublicProduction::*_info", ("A", "repo.info")),
    ("test_hf_api.py::TestHfApiPublicProduction::*_info_with_file_metadata", ("A", "repo.info")),
    ("test_file_download.py*", ("A", "download")),
    ("test_snapshot_download.py*", ("A", "snapshot")),
    ("test_cache_layout.py*", ("A", "download")),
    ("test_cache_no_symlinks.py*", ("A", "download")),
    ("test_utils_cache.py*", ("A", "snapshot")),
    ("test_hf_file_system.py*", ("A", "hffs")),
    ("test_commit_scheduler.py*", ("A", "commit")),
    ("test_hub_mixin*", ("A", "commit")),
    ("test_xet_upload.py::TestBucket*", ("B", "buckets")),
    ("test_xet_upload.py*", ("A", "xet")),
    ("test_xet_download.py*", ("A", "xet")),
    ("test_upload*", ("A", "commit")),
    ("test_repository.py*", ("B", "git")),
    ("test_hf_api.py::TestLargeUpload*", ("A", "commit")),
    ("test_lfs.py*", ("A", "lfs")),
    ("test_utils_pagination.py*", ("A", "http.pagination")),
    ("test_cli.py::Test*LsCommand::*files*", ("A", "tree")),
    ("test_cli.py::TestAuth*", ("A", "auth.whoami")),
    ("test_cli.py::TestRepo*", ("B", "cli")),
    ("test_cli.py*", ("B", "cli")),
    # --- tier B
    ("test_hf_api.py::TestHfApiDiscussions*", ("B", "discussions")),
    ("test_cli_discussions.py*", ("B", "discussions")),
    ("test_hf_api.py::TestActivityApi*", ("B", "likes")),
    ("test_hf_api.py::TestCollection*", ("B", "collections")),
    ("test_hf_api.py::TestWebhook*", ("B", "webhooks")),
    ("test_hf_api.py::TestAccessRequest*", ("B", "access-requests")),
    ("test_hf_api.py::TestSquashHistory*", ("B", "squash")),
    ("test_hf_api.py::TestListAndPermanentlyDelete*", ("B", "lfs-files")),
    ("test_hf_api.py::TestUserApi*", ("B", "users-orgs")),
    ("test_hf_api.py::TestExpand*", ("B", "search-info")),
    ("test_hf_api.py::TestHfApiPublicProduction*", ("B", "search-info")),
    ("test_hf_api.py::TestDuplicate*", ("B", "duplicate")),
    ("test_hf_api.py*", ("B", "other")),
    ("test_repocard.py*", ("B", "cards")),
    ("test_buckets*", ("B", "buckets")),
    ("test_copy_files.py*", ("B", "copy")),
    ("test_kernels.py*", ("B", "kernels")),
    ("test_oauth.py*", ("B", "oauth")),
    ("test_webhooks_server.py*", ("local", "client")),
    ("*", ("?", "unsorted")),
]

# What a self-hosted server cannot (or need not) satisfy even when it is right. fnmatch pattern -> reason
REMARKS = [
    ("*test_get_hf_file_metadata_from_a_lfs_file", "impossible: wants a redirect to xethub.hf.co / cdn.hf.co"),
    ("*test_list_dataset_parquet_files", "impossible: the client refuses any endpoint but huggingface.co"),
    ("test_kernels.py::test_create_kernel*", "impossible: compares with https://hub-ci.huggingface.co/..."),
    ("test_oauth.py::test_oauth_workflow", "impossible: identity of the Hub's own CI bot"),
    ("*TestCommitInBackground::test_run_as_future", "timing: fails when the server answers too fast"),
    ("test_utils_http.py::TestUniqueRequestId*", "GET /api/tasks must answer (any status) with x-request-id"),
    ("*test_large_file_http_path_error", "metadata only: HEAD of a file > 50 GB"),
    ("*TestHfApiPublicProduction::test_list_models*", "bulk: needs many stand-in repos"),
    ("*TestHfApiPublicProduction::test_list_datasets*", "bulk: needs many stand-in repos"),
    ("*TestHfApiPublicProduction::test_list_spaces*", "bulk: needs many stand-in repos"),
    ("*TestHfApiPublicProduction::test_filter*", "bulk: needs tagged stand-in repos"),
    ("*test_list_repo_likers", "bulk: > 5000 likers"),
    ("*test_get_repo_discussion_pagination", "bulk: > 50 discussions"),
    ("*TestUserApi*", "bulk: users/orgs with many followers"),
    ("*test_list_likes_on_production", "bulk: user julien-c with likes of every repo type"),
    ("*TestHfHubDownloadRelativePaths*", "server must accept the path folder/..\\\\..\\\\..\\\\file (but answer 422 to ..\\\\ddd)"),
]

OLD_CLASS = re.compile(r"::([A-Z]\w*?)(?:Tests?)(?=::|$)")


def modern(name: str) -> str:
    """The 0.x suite says CommitApiTest where the rules say TestCommitApi."""
    return OLD_CLASS.sub(lambda m: "::" + ("Test" if not m[1].startswith("Test") else "") + m[1], name)


REPO = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")


def production_tests(tree: pathlib.Path) -> dict[str, list[str]]:
    """Static view: tests marked `production` (or using api_prod / ENDPOINT_PRODUCTION), with the repo ids they name."""
    def constants(module):
        out = {}
        for node in module.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
                    out[node.targets[0].id] = node.value.value
        return out

    shared = constants(ast.parse((tree / "tests/testing_constants.py").read_text()))
    found: dict[str, list[str]] = {}
    for path in sorted((tree / "tests").glob("test_*.py")):
        module = ast.parse(path.read_text())
        names = {**shared, **constants(module)}
        for node in module.body:  # X = IMPORTED_CONSTANT
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and node.value.id in names:
                names[node.targets[0].id] = names[node.value.id]

        def marked(node):
            return any("production" in ast.unparse(d) for d in getattr(node, "decorator_list", []))

        production_fixtures = {"api_prod"} | {
            node.name for node in module.body
            if isinstance(node, ast.FunctionDef) and "ENDPOINT_PRODUCTION" in ast.unparse(node)
            and any("fixture" in ast.unparse(d) for d in node.decorator_list)
        }

        def walk(body, prefix, inherited):
            for node in body:
                if isinstance(node, ast.ClassDef):
                    setup = [n for n in node.body if isinstance(n, ast.FunctionDef)
                             and any("fixture" in ast.unparse(d) for d in n.decorator_list)]
                    # 0.x: unittest classes whose setUp is decorated
                    old = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name.lower() in ("setup", "setupclass")]
                    by_fixture = any("PRODUCTION" in ast.unparse(n) for n in setup) or any(
                        marked(n) or "PRODUCTION" in ast.unparse(n) for n in old
                    )
                    walk(node.body, prefix + node.name + "::", inherited or marked(node) or by_fixture)
                elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test"):
                    source = ast.unparse(node)
                    args = {a.arg for a in node.args.args}
                    if not (inherited or marked(node) or args & production_fixtures or "PRODUCTION" in source):
                        continue
                    ids = set()
                    for sub in ast.walk(node):
                        if isinstance(sub, ast.Constant) and isinstance(sub.value, str) and REPO.match(sub.value):
                            ids.add(sub.value)
                        if isinstance(sub, ast.Name) and REPO.match(names.get(sub.id, "")):
                            ids.add(names[sub.id])
                    found[f"tests/{path.name}::{prefix}{node.name}"] = sorted(ids)

        walk(module.body, "", False)
    return found


def main() -> None:
    result = json.load(open(sys.argv[1]))
    tree = pathlib.Path(sys.argv[2])
    host = urllib.parse.urlsplit(result["endpoint"]).netloc
    production = production_tests(tree)

    merged: dict[str, dict] = {}
    for test in result["tests"]:
        bare = test["id"].split("[", 1)[0]
        urls = [r["u"] for r in test.get("requests", []) if host in r["u"] or re.search(r"//(huggingface\.co|hub-ci|hf\.co)", r["u"])]
        shared = host in (test.get("message") or "")
        entry = merged.setdefault(bare, {"net": False, "first": "", "hard": False, "skipped": True})
        entry["net"] |= bool(urls) or shared
        entry["skipped"] &= test["outcome"] == "skipped"
        entry["hard"] |= bool(test.get("rewritten"))
        if urls and not entry["first"]:
            r = test["requests"][0]
            entry["first"] = r["m"] + " " + urllib.parse.urlsplit(r["u"]).path

    print("\t".join(("id", "tier", "source", "category", "first_request", "needs", "remark")))
    counts = collections.Counter()
    for bare, entry in merged.items():
        name = modern(bare.removeprefix("tests/"))
        tier, category = next(v for p, v in RULES if fnmatch.fnmatch(name, p))
        static = bare in production
        if not entry["net"]:
            # git-lfs tests and others that were skipped in the dummy run may still be about the server
            if not (entry["skipped"] and static and tier in "AB"):
                tier, category = "local", "client"
        source = "none" if tier == "local" else "seeded" if static else "own"
        if entry["hard"] and tier != "local":
            source = "seeded"
        needs = ",".join(production.get(bare, [])) if source == "seeded" else ""
        if entry["hard"]:
            needs = "hard-coded-url" + ("," + needs if needs else "")
        counts[tier, source] += 1
        remark = next((r for p, r in REMARKS if fnmatch.fnmatch(name, p)), "") if tier != "local" else ""
        print("\t".join((bare, tier, source, category, entry["first"], needs, remark)))
    print({f"{t}/{s}": n for (t, s), n in sorted(counts.items())}, file=sys.stderr)


if __name__ == "__main__":
    main()
