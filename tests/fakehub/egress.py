"""
The way out of a company's network: a proxy, and a certificate that only its own machines trust.

With both, the stand-in can be reached under the Hub's real names: `routes` says which of them are here.

    tls, trusted = certificate(folder, "huggingface.co", "us.aws.cdn.hf.co")
    with FakeHub(tls=tls) as hub, EgressProxy({"huggingface.co": hub.address("hub"), ...}) as proxy:
        hub.public_url, hub.cdn_public_url = "https://huggingface.co", "https://us.aws.cdn.hf.co"
"""

from __future__ import annotations

import selectors
import socket
import socketserver
import ssl
import subprocess
import threading
from base64 import b64encode
from collections.abc import Mapping
from contextlib import closing, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

Address = tuple[str, int]


def certificate(folder: Path, *names: str) -> tuple[ssl.SSLContext, Path]:
    """A certificate for these hosts or addresses, to serve with, and the file that whoever trusts it reads."""
    key, public = folder / "key.pem", folder / "certificate.pem"
    alternatives = ",".join(f"{'IP' if _is_address(name) else 'DNS'}:{name}" for name in names)
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=stand-in",
        "-days",
        "2",
    ]
    command += ["-addext", f"subjectAltName={alternatives}", "-keyout", str(key), "-out", str(public)]
    subprocess.run(command, check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(public, key)
    return tls, public


def _is_address(name: str) -> bool:
    with suppress(ValueError):
        return bool(ip_address(name))
    return False


class EgressProxy:
    """
    An HTTP proxy on loopback: CONNECT, and absolute URLs for plain HTTP. Hosts without a route are refused with 403.

    `asked` lists what came by, `CONNECT host:port` or `METHOD url`. With `user` and `password` it wants them, by 407.
    """

    def __init__(self, routes: Mapping[str, Address], *, user: str = "", password: str = "") -> None:
        self.asked: list[str] = []
        self._routes = dict(routes)
        self._wanted = "Basic " + b64encode(f"{user}:{password}".encode()).decode() if user else ""
        self._credentials = f"{user}:{password}@" if user else ""
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with suppress(OSError):
                    proxy._serve(self.request)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """With credentials, where it wants them."""
        return f"http://{self._credentials}127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _serve(self, client: socket.socket) -> None:
        head = _read_head(client)
        if not head:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        self.asked.append(f"{method} {target}")
        sent = [
            line.partition(":")[2].strip()
            for line in lines
            if line.lower().startswith("proxy-authorization:")
        ]
        if self._wanted and self._wanted not in sent:
            _refuse(client, '407 Proxy Authentication Required\r\nproxy-authenticate: Basic realm="egress"')
            return
        url = urlsplit(f"//{target}" if method == "CONNECT" else target)
        route = self._routes.get(url.hostname or "")
        if route is None:
            _refuse(client, "403 Forbidden")
            return
        with closing(socket.create_connection(route, timeout=10)) as upstream:
            upstream.settimeout(None)
            if method == "CONNECT":
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                path = f"{url.path or '/'}{'?' + url.query if url.query else ''}"
                kept = [line for line in lines if not line.lower().startswith(("proxy-", "connection:"))]
                again = [f"{method} {path} HTTP/1.1", "connection: close", *kept]
                upstream.sendall("\r\n".join(again).encode("latin-1"))
            _tunnel(client, upstream)


def _read_head(client: socket.socket) -> bytes:
    """A head to its empty line. No client sends more before it has an answer."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        part = client.recv(65536)
        if not part:
            return b""
        head += part
    return head


def _refuse(client: socket.socket, status: str) -> None:
    client.sendall(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())


def _tunnel(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until either side ends."""
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ, other)
        selector.register(other, selectors.EVENT_READ, one)
        while True:
            for key, _ in selector.select():
                data = key.fileobj.recv(1 << 18)  # type: ignore[union-attr]
                if not data:
                    return
                key.data.sendall(data)
