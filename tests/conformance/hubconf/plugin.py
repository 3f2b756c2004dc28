"""pytest plugin: redirect the client's test-suite to one loopback endpoint, guard the network, record and classify.

Configured through the environment (set by run_conformance.py):

HUBCONF_ENDPOINT   http://127.0.0.1:PORT of the server under test
HUBCONF_ACCOUNTS   JSON: overrides for tests/testing_constants.py (TOKEN, USER, OTHER_TOKEN, ...)
HUBCONF_SELECT     JSON file: list of node ids (without parameters) to keep; absent = keep everything
HUBCONF_RESULT     path of the raw JSON-lines result file written by the controller process
HUBCONF_REWRITE    "1": rewrite requests aimed at the public Hub hosts to the endpoint (for hard-coded URLs in tests);
                   every rewrite is recorded. "0": refuse them.
"""

import importlib
import json
import os
import sys
from urllib.parse import urlsplit, urlunsplit

import pytest

from . import netguard


PUBLIC_HOSTS = {"huggingface.co", "www.huggingface.co", "hf.co", "hub-ci.huggingface.co"}
MARKERS = (
    "api: client suite",
    "transfer: client suite",
    "inference: client suite",
    "xet: needs hf_xet",
    "no_xet: must run without hf_xet",
    "production: read-only test against the production Hub",
    "deprecated: expects a FutureWarning",
    "git_lfs: needs git-lfs",
    "timeout: pytest-timeout",
    "vcr: cassettes",
)

ENDPOINT = os.environ.get("HUBCONF_ENDPOINT", "http://127.0.0.1:8000").rstrip("/")
REWRITE = os.environ.get("HUBCONF_REWRITE", "1") == "1"

_current: list[dict] | None = None  # requests made by the running test


def _note(method: str, url: str, status, rewritten: bool) -> None:
    if _current is not None and len(_current) < 400:
        _current.append({"m": method, "u": url, "s": status, **({"rewritten": True} if rewritten else {})})


def _route(url: str) -> tuple[str, bool]:
    """Return (url to use, rewritten). Raises BlockedConnection when the target must not be contacted."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if netguard.is_loopback_host(host):
        return url, False
    if REWRITE and host in PUBLIC_HOSTS:
        target = urlsplit(ENDPOINT)
        return urlunsplit((target.scheme, target.netloc, parts.path, parts.query, parts.fragment)), True
    netguard.log_block("http", url)
    raise netguard.BlockedConnection(f"hubconf: request to non-loopback host refused: {url}")


def _patch_httpx_like(module_name: str) -> None:
    """Wrap the real transports of httpx (client 1.x) / httpx2 (client 2.x)."""
    try:
        module = importlib.import_module(module_name)
    except ImportError:
        return

    def prepare(request):
        original = str(request.url)
        try:
            url, rewritten = _route(original)
        except netguard.BlockedConnection as exc:
            _note(request.method, original, "BLOCKED", False)
            raise module.ConnectError(str(exc), request=request) from exc
        if rewritten:
            target = module.URL(url)
            request = module.Request(
                request.method, target, headers=request.headers, stream=request.stream, extensions=request.extensions
            )
            request.headers["host"] = urlsplit(ENDPOINT).netloc
        return request, original, rewritten

    sync_real = module.HTTPTransport.handle_request
    async_real = module.AsyncHTTPTransport.handle_async_request

    def handle_request(self, request):
        request, original, rewritten = prepare(request)
        status = "EXC"
        try:
            response = sync_real(self, request)
            status = response.status_code
            return response
        finally:
            _note(request.method, original, status, rewritten)

    async def handle_async_request(self, request):
        request, original, rewritten = prepare(request)
        status = "EXC"
        try:
            response = await async_real(self, request)
            status = response.status_code
            return response
        finally:
            _note(request.method, original, status, rewritten)

    module.HTTPTransport.handle_request = handle_request
    module.AsyncHTTPTransport.handle_async_request = handle_async_request


def _patch_requests() -> None:
    """Same for `requests` (client 0.x)."""
    try:
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3.exceptions import MaxRetryError
    except ImportError:
        return

    real = HTTPAdapter.send

    def send(self, request, *args, **kwargs):
        original = request.url
        try:
            url, rewritten = _route(original)
        except netguard.BlockedConnection as exc:
            _note(request.method, original, "BLOCKED", False)
            # the shape that requests itself gives it: tests look into the inner error
            inner = MaxRetryError(None, original, exc)
            raise requests.exceptions.ConnectTimeout(inner, request=request) from exc
        request.url = url
        status = "EXC"
        try:
            response = real(self, request, *args, **kwargs)
            status = response.status_code
            return response
        finally:
            _note(request.method, original, status, rewritten)

    HTTPAdapter.send = send


def _override_constants(root: str) -> None:
    sys.path.insert(0, root)
    module = importlib.import_module("tests.testing_constants")
    module.ENDPOINT_STAGING = ENDPOINT
    module.ENDPOINT_PRODUCTION = ENDPOINT
    module.ENDPOINT_PRODUCTION_URL_SCHEME = ENDPOINT + "/{repo_id}/resolve/{revision}/{filename}"
    for name, value in json.loads(os.environ.get("HUBCONF_ACCOUNTS", "{}")).items():
        if value is not None:
            setattr(module, name, value)


def bare_id(nodeid: str) -> str:
    return nodeid.split("[", 1)[0]


class Plugin:
    def __init__(self, config):
        self.config = config
        select = os.environ.get("HUBCONF_SELECT")
        self.selected = set(json.load(open(select))) if select else None
        self.is_worker = hasattr(config, "workerinput")
        self.out = None
        if not self.is_worker and os.environ.get("HUBCONF_RESULT"):
            self.out = open(os.environ["HUBCONF_RESULT"], "w")

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config, items):
        if self.selected is None:
            return
        keep = [item for item in items if bare_id(item.nodeid) in self.selected]
        drop = [item for item in items if bare_id(item.nodeid) not in self.selected]
        if drop:
            config.hook.pytest_deselected(items=drop)
        items[:] = keep

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item, nextitem):
        global _current
        _current = []
        item._hubconf_requests = _current
        yield
        _current = None

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item, call):
        outcome = yield
        report = outcome.get_result()
        if call.when == "teardown":
            report.user_properties.append(("hubconf_requests", list(getattr(item, "_hubconf_requests", []))))

    def pytest_runtest_logreport(self, report):
        if self.out is None:
            return
        record = {"id": report.nodeid, "when": report.when, "outcome": report.outcome, "duration": report.duration}
        if report.outcome == "failed":
            crash = getattr(getattr(report, "longrepr", None), "reprcrash", None)
            record["message"] = (crash.message if crash is not None else str(report.longrepr))[:2000]
            record["where"] = f"{crash.path}:{crash.lineno}" if crash is not None else None
        elif report.outcome == "skipped":
            record["message"] = str(report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr)[:300]
        if report.when == "teardown":
            for name, value in report.user_properties:
                if name == "hubconf_requests":
                    record["requests"] = value
        self.out.write(json.dumps(record) + "\n")
        self.out.flush()

    def pytest_collectreport(self, report):
        if self.out is not None and report.failed:
            self.out.write(json.dumps({"id": report.nodeid, "when": "collect", "outcome": "failed",
                                       "message": str(report.longrepr)[-1500:]}) + "\n")
            self.out.flush()

    def pytest_unconfigure(self):
        if self.out is not None:
            self.out.close()


def pytest_load_initial_conftests(early_config, parser, args):
    """Runs before tests/conftest.py is imported: constants must be replaced before anybody copies them."""
    netguard.install()
    for name in ("httpx2", "httpx"):
        _patch_httpx_like(name)
    _patch_requests()
    _override_constants(str(early_config.rootpath))


def pytest_configure(config):
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    config.pluginmanager.register(Plugin(config), "hubconf-core")
