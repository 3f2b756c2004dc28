"""vLLM, a real server on the CPU: a model and a LoRA pulled from hubreg answer a completion."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.compat.conftest import NewClient
from tests.compat.live import Client, Requests

START_SECONDS = 600
SETTINGS = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "2",
    "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
}
FLAGS = [
    "--enforce-eager",
    "--dtype",
    "float32",
    "--max-model-len",
    "128",
    "--enable-lora",
    "--max-lora-rank",
    "8",
]


def ask(url: str, body: dict[str, Any]) -> str:
    """POST and the text of the answer."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as response:
        text: str = response.read().decode()
        return text


def complete(url: str, model: str) -> str:
    """Four greedy tokens."""
    body = {"model": model, "prompt": "the hub serves", "max_tokens": 4, "temperature": 0}
    text: str = json.loads(ask(f"{url}/v1/completions", body))["choices"][0]["text"]
    return text


@contextmanager
def vllm(client: Client, *words: str) -> Iterator[str]:
    """`vllm serve` with the client's environment, from healthy until ended."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url, log = f"http://127.0.0.1:{port}", client.home / "vllm.log"
    command = [
        client.environment / "bin" / "vllm",
        "serve",
        *words,
        *FLAGS,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with open(log, "wb") as out:
        process = subprocess.Popen(
            [str(word) for word in command],
            env=client.variables | SETTINGS,
            cwd=client.home,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for_health(url, process, log)
        yield url
    finally:
        # the group that was started here: the server and its engine
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def wait_for_health(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(1)
    pytest.fail(f"vLLM did not start:\n{log.read_text()[-6000:]}")


def pulled(requests: Requests, repo: str, commit: str, file: str) -> bool:
    return bool(requests.matching(f"^GET /{repo}/resolve/{commit}/{file} 200"))


@pytest.mark.vllm
def test_a_model_and_a_lora_answer(new_client: NewClient, published: dict[str, str]) -> None:
    """vLLM pulls the base, a LoRA at start and one at run time, all by commit, and each answers in its own way."""
    client = new_client("vllm")
    start = client.hub.settled()
    with vllm(client, "acme/tiny-llama", "--lora-modules", "small=acme/tiny-lora") as url:
        base, small = complete(url, "acme/tiny-llama"), complete(url, "small")
        ask(f"{url}/v1/load_lora_adapter", {"lora_name": "later", "lora_path": "acme/tiny-lora"})
        later = complete(url, "later")
    client.hub.settled()
    requests = client.hub.seen(start)
    print(f"base {base!r}, with the adapter {small!r}\n{requests}")
    assert base.strip()
    assert small != base
    assert later == small
    assert pulled(requests, "acme/tiny-llama", published["acme/tiny-llama"], "model.safetensors")
    assert pulled(requests, "acme/tiny-lora", published["acme/tiny-lora"], "adapter_model.safetensors")
    assert not [r for r in requests if r.status >= 500]
    # it looks its own machine up
    assert not set(client.sent_elsewhere()) - {socket.gethostname()}


@pytest.mark.vllm
def test_a_revision_is_served(new_client: NewClient, published: dict[str, str]) -> None:
    """`--revision production` serves the weights of that branch, not those of main."""
    client = new_client("vllm")
    start = client.hub.settled()
    revision = ["--revision", "production", "--tokenizer-revision", "production"]
    with vllm(client, "acme/two-versions", *revision) as url:
        text = complete(url, "acme/two-versions")
    client.hub.settled()
    requests = client.hub.seen(start)
    assert text.strip()
    assert pulled(requests, "acme/two-versions", published["v1"], "model.safetensors")
    assert not pulled(requests, "acme/two-versions", published["acme/two-versions"], "model.safetensors")
