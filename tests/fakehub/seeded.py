"""
Stand-ins for the repos of the public Hub that huggingface_hub's own tests read.

What those tests assert of each is in `tests/conformance/seeds/production_repos.json`; a stand-in has that and little
else. Commit ids are the real ones where a test compares them. Weights are a header and a little behind it, so that a
mirror may fetch all of them in a run; `full_size` makes them as long as their header says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

from tests.fakehub.content import Declared, File, Generated, Plain, lfs, regular
from tests.fakehub.fake import FakeHub
from tests.fakehub.recorded import GPT2, moment
from tests.fakehub.repos import Writable

SEEDS = Path(__file__).parents[1] / "conformance" / "seeds" / "production_repos.json"
TIERS = ("tier_A", "tier_B")

# `verylargemodel.safetensors`: hashing it takes a minute.
VERY_LARGE = Generated(
    50_000_000_512, 50, sha256="9102dd4560501ddbe93f0dbd38769192343d98a4ca9dc9b96ec2a69ad5fb44d5"
)
FEW = 64 << 10  # bytes of weights behind a header

Shapes = Mapping[str, tuple[int, ...]]
BYTES = {"F32": 4, "F16": 2, "BF16": 2}


def safetensors(dtype: str, shapes: Shapes, seed: int, *, full_size: bool, header_size: int = 0) -> File:
    """A safetensors file with these tensors one behind the other, and `{"format": "pt"}`."""
    said: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, shape in shapes.items():
        end = at + prod(shape) * BYTES[dtype]
        said[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(said, separators=(",", ":")).encode()
    text = text.ljust(header_size or -(-len(text) // 8) * 8)
    head = len(text).to_bytes(8, "little") + text
    return lfs(Generated(len(head) + (at if full_size else min(at, FEW)), seed, head=head))


def padded(text: str, size: int) -> str:
    """Text made up to a size in bytes by spaces before its last character."""
    return text[:-1] + " " * (size - len(text.encode())) + text[-1]


def card(heading: str, /, **front: str) -> str:
    lines = "".join(f"{key}: {value}\n" for key, value in front.items())
    return f"---\n{lines}---\n\n# {heading}\n"


# models


def dummy_unknown(hub: FakeHub, full_size: bool) -> None:
    repo = hub.model("julien-c/dummy-unknown")
    repo.created = "2022-03-02T23:29:05.000Z"
    weights = {name: lfs(Generated(size, size)) for name, size in DUMMY_WEIGHTS.items()}
    texts = {
        ".gitattributes": "*.bin filter=lfs\n",
        "README.md": card("Dummy", tags="[ci]"),
        "merges.txt": "# v\n",
    }
    config = '{"architectures":["RobertaForMaskedLM"],"model_type":"roberta"}'
    first = texts | {"config.json": padded(config, 600)}
    repo.commit(first, id="44c70f043cfe8162efc274ff531575e224a0e6f0")
    second = weights | {"config.json": padded(config, 851), "vocab.json": "{}"}
    repo.commit(second, id="f2c752cfc5c0ab6f4bdec59acea69eefbee381c2")
    repo.commit({"config.json": padded(config, 496)})
    repo.commit({"config.json": padded(config, 497)}, on="refs/pr/1")


DUMMY_WEIGHTS = {"flax_model.msgpack": 65_000 + 76, "pytorch_model.bin": 65_074, "tf_model.h5": 65_000 + 80}


def renamed(hub: FakeHub, full_size: bool) -> None:
    repo = hub.model("hf-internal-testing/dummy-will-be-renamed")
    repo.commit({"config.json": "{}"})
    hub.rename(repo, "hf-internal-testing/dummy-renamed")


def cache_layout(hub: FakeHub, full_size: bool) -> None:
    repo = hub.model("hf-internal-testing/hfh-cache-layout")
    repo.commit({".gitattributes": "*.bin filter=lfs\n", "file_0.txt": "File 0\n"})
    more = {"file_1.txt": "File 1\n"}
    repo.commit(more | {"file_2.txt": "File 2\n"}, on="file-2", id="5e23cb3ae7f904919a442e1b27dcddae6c6bc292")
    repo.commit(more | {"file_3.txt": "File 3\n"}, on="file-3", id="78aa2ebdb60bba086496a8792ba506e58e587b4c")


def scanned(hub: FakeHub, full_size: bool) -> None:
    """README.md is the real one: its blob is fffc22b462ba2368b09b4d38527760051c9090a9, as the test wants."""
    attributes = padded("*.bin filter=lfs diff=lfs merge=lfs -text\n", 1477)
    repo = hub.model("hf-internal-testing/hfh_ci_scan_repo_a")
    repo.commit({".gitattributes": attributes}, id="f95875cd910793299a545417cc4b3c9055202883")
    repo.commit({"README.md": "Content."}, id="c0d57e03d9f128062eadb6665618982db612b2e3")
    repo.commit(
        {"another.md": "Another content."}, on="refs/pr/1", id="1a665a9d28a66b1d0f8edd9359fc824aacc63234"
    )
    data = hub.dataset("hf-internal-testing/hfh_ci_scan_dataset_b")
    files = {".gitattributes": padded(attributes, 2257), "README.md": "Content."}
    data.commit(files, id="f1cdcd4641b3ea2dfa8d4333dba1ea3b532735e1")


def xet_dummy(hub: FakeHub, full_size: bool) -> None:
    weights = safetensors("F32", {"weight": (512, 512)}, 7, full_size=True)
    hub.model("celinah/dummy-xet-testing").commit({"README.md": card("Dummy"), "dummy.safetensors": weights})


def very_large(hub: FakeHub, full_size: bool) -> None:
    hub.model("brianronan/dummy-xet-edge-case-files").commit({"verylargemodel.safetensors": VERY_LARGE})


def gpt2(hub: FakeHub, full_size: bool) -> None:
    """Two revisions; of the older one only ETags are asked, and stated."""
    repo = hub.model("openai-community/gpt2")
    hub.alias("gpt2", repo)
    repo.public_id = "621ffdc036468d709f17434d"
    repo.facts |= {"pipeline_tag": "text-generation", "library_name": "transformers", "likes": 4194}
    etags = {
        "README.md": "a16a55fda99d2f2e7b69cce5cf93ff4ad3049930",
        "pytorch_model.bin": "7c5d3f4b8b76583b422fcb9189ad6c89d5d97a094541ce8932dce3ecabde1421",
    }
    readme = regular(Declared(Plain(card("GPT-2").encode()), oid=etags["README.md"]))
    model = lfs(Declared(Generated(FEW, 1), sha256=etags["pytorch_model.bin"]))
    repo.commit(
        {"README.md": readme, "pytorch_model.bin": model}, id="e7da7f221d5bf496a48136c0cd264e630fe9fcc8"
    )
    xet = "63bed80836ee0758c8fd4f8975d59bb0b864263ee2753547c358e8a37cde8758"
    current: dict[str, Writable] = {
        "README.md": card("GPT-2", license="mit", language="en"),
        "config.json": '{"architectures":["GPT2LMHeadModel"],"model_type":"gpt2"}',
        "model.safetensors": lfs(Declared(Generated(548_105_171 if full_size else FEW, 2), xet=xet)),
        "pytorch_model.bin": Generated(FEW, 3),
        "tf_model.h5": Generated(497_933_648 if full_size else FEW, 4),
    }
    repo.commit(current, id=GPT2, date=moment("2024-02-19T10:57:45.000Z"))


def openjourney(hub: FakeHub, full_size: bool) -> None:
    repo = hub.model("prompthero/openjourney-v4")
    extractor = {"feature_extractor/preprocessor_config.json": "{}"}
    repo.commit(extractor, id="47b62b20b20e06b9de610e840282b7e6c3d51190")
    repo.commit({"openjourney-v4.ckpt": Generated(FEW, 5)}, id="bda967fdb79a50844e4a02cccae3217a8ecc86cd")
    folders = "safety_checker scheduler text_encoder tokenizer unet vae".split()
    rest = {".gitattributes": "", "README.md": card("Openjourney"), "model_index.json": "{}"}
    rest |= {f"{folder}/config.json": "{}" for folder in folders}
    repo.commit(rest, id="c9211c53404dd6f4cfac5f04f33535892260668e")


def mistral_layer(number: int) -> Shapes:
    """A layer of Mistral 7B, its norm first."""
    wide, narrow = 14336, 1024
    parts = {
        "input_layernorm": (4096,),
        "mlp.down_proj": (4096, wide),
        "mlp.gate_proj": (wide, 4096),
        "mlp.up_proj": (wide, 4096),
        "post_attention_layernorm": (4096,),
        "self_attn.k_proj": (narrow, 4096),
        "self_attn.o_proj": (4096, 4096),
        "self_attn.q_proj": (4096, 4096),
        "self_attn.v_proj": (narrow, 4096),
    }
    return {f"model.layers.{number}.{name}.weight": shape for name, shape in parts.items()}


def mistral_shards() -> list[Shapes]:
    """All of Mistral 7B in eight shards; the third begins at layer 10 and ends with two matrices of layer 14."""
    ends: Shapes = {
        "model.embed_tokens.weight": (32000, 4096),
        "model.norm.weight": (4096,),
        "lm_head.weight": (32000, 4096),
    }
    layers = [dict(mistral_layer(number)) for number in range(32)]
    split = {
        name: layers[14].pop(name) for name in list(layers[14]) if "mlp.gate" in name or "mlp.up" in name
    }
    bounds = [0, 5, 10, 14, 18, 22, 26, 30, 32]
    shards = [
        {name: shape for layer in layers[first:last] for name, shape in layer.items()}
        for first, last in pairwise(bounds)
    ]
    shards[2] |= split
    return [dict(ends) | shards[0], *shards[1:]]


def zephyr(hub: FakeHub, full_size: bool) -> None:
    repo = hub.model("HuggingFaceH4/zephyr-7b-beta")
    repo.facts |= {
        "widgetData": [{"text": "Hello"}],
        "pipeline_tag": "text-generation",
        "downloadsAllTime": 1,
    }
    files: dict[str, Any] = {"README.md": card("Zephyr 7B β", license="mit"), "config.json": "{}"}
    weight_map: dict[str, str] = {}
    for number, shapes in enumerate(mistral_shards(), 1):
        name = f"model-{number:05d}-of-00008.safetensors"
        files[name] = safetensors("BF16", shapes, 100 + number, full_size=full_size)
        weight_map |= dict.fromkeys(shapes, name)
    index = {"metadata": {"total_size": 2 * 7_241_732_096}, "weight_map": weight_map}
    files["model.safetensors.index.json"] = json.dumps(index)
    # What a zip begins with: as a length of a safetensors header it is far beyond what one may have.
    files["pytorch_model-00001-of-00008.bin"] = Generated(FEW, 6, head=b"PK\3\4\0\0\x08\x08")
    repo.commit(files)


def bloomz(hub: FakeHub, full_size: bool) -> None:
    parts: dict[str, tuple[int, ...]] = {
        "input_layernorm.weight": (1024,),
        "input_layernorm.bias": (1024,),
        "self_attention.query_key_value.weight": (3072, 1024),
        "self_attention.query_key_value.bias": (3072,),
        "self_attention.dense.weight": (1024, 1024),
        "self_attention.dense.bias": (1024,),
        "post_attention_layernorm.weight": (1024,),
        "post_attention_layernorm.bias": (1024,),
        "mlp.dense_h_to_4h.weight": (4096, 1024),
        "mlp.dense_h_to_4h.bias": (4096,),
        "mlp.dense_4h_to_h.weight": (1024, 4096),
        "mlp.dense_4h_to_h.bias": (1024,),
    }
    shapes: dict[str, tuple[int, ...]] = {"word_embeddings.weight": (250880, 1024)}
    for norm in ("word_embeddings_layernorm", "ln_f"):
        shapes |= {f"{norm}.weight": (1024,), f"{norm}.bias": (1024,)}
    shapes |= {f"h.{layer}.{name}": shape for layer in range(24) for name, shape in parts.items()}
    weights = safetensors("F16", shapes, 8, full_size=full_size)
    hub.model("bigscience/bloomz-560m").commit({"config.json": "{}", "model.safetensors": weights})


def safetensors_by_pull(hub: FakeHub, full_size: bool) -> None:
    repo = hub.model("huggingface-hub-ci/test_safetensors_metadata")
    repo.commit({"README.md": card("No weights at main")})
    repo.commit({"model.safetensors": safetensors("F32", {"w": (4, 4)}, 9, full_size=True)}, on="refs/pr/1")


def long_header(hub: FakeHub, full_size: bool) -> None:
    """A header of exactly 100000 bytes."""
    shapes = {f"model.layers.{number}.weight": (16, 16) for number in range(852)}
    weights = safetensors("BF16", shapes, 10, full_size=full_size, header_size=100_000)
    repo = hub.model("nvidia/GLM-5-NVFP4")
    files = {"model-00008-of-00282.safetensors": weights}
    repo.commit(files, id="dc54ff55a7e9e71b85db953d8bc22eca894b44c6")


def openchat(hub: FakeHub, full_size: bool) -> None:
    repo = hub.model("openchat/openchat_3.5")
    repo.commit({"README.md": card("OpenChat")})
    for number in (1, 2, 3):
        repo.commit({"README.md": card(f"OpenChat {number}")}, on=f"refs/pr/{number}")


def t5(hub: FakeHub, full_size: bool) -> None:
    repo = hub.model("google-t5/t5-small")
    hub.alias("t5-small", repo)
    onnx = {
        f"onnx/{name}_model.onnx": Generated(FEW, seed)
        for seed, name in enumerate(("encoder", "decoder"), 20)
    }
    repo.commit(onnx | {"config.json": "{}", "tokenizer.json": "{}", "README.md": card("T5")})


# datasets, Spaces, kernels


def gaia(hub: FakeHub, full_size: bool) -> None:
    repo = hub.dataset("gaia-benchmark/GAIA")
    repo.facts["cardData"] = {"language": ["en"], "pretty_name": "General AI Assistants Benchmark"}
    repo.commit({"README.md": card("GAIA", language="[en]")})
    repo.commit({"test.txt": "test"}, on="test-branch", id="c603981e170e9e333934a39781d2ae3a2677e81f")


def custom_squad(hub: FakeHub, full_size: bool) -> None:
    repo = hub.dataset("lhoestq/custom_squad")
    repo.commit(
        {"README.md": card("Squad"), "custom_squad.py": "print()\n", "train.json.gz": Generated(FEW, 11)}
    )


def c4(hub: FakeHub, full_size: bool) -> None:
    """1032 files in one folder: two pages."""
    repo = hub.dataset("allenai/c4")
    shard = lfs(Generated(FEW, 12))
    shards: dict[str, Writable] = {
        f"en/c4-train.{number:05d}-of-01024.json.gz": shard for number in range(1024)
    }
    shards |= {f"en/c4-validation.{number:05d}-of-00008.json.gz": shard for number in range(8)}
    repo.commit(shards | {"README.md": card("C4")}, id="607bd4c8450a42878aa9ddc051a65a055450ef87")


def admin(hub: FakeHub, full_size: bool) -> None:
    repo = hub.dataset("bigcode/admin")
    repo.commit({"README.md": card("Admin")})
    parquet = {"default/train/0000.parquet": Generated(FEW, 13)}
    repo.commit(parquet, on="refs/convert/parquet", onto="")


def math_qa(hub: FakeHub, full_size: bool) -> None:
    """Long enough to come gzipped to whoever takes that."""
    script = "import json\n\n\nclass MathQa:\n    pass\n" + "# a line of a loading script\n" * 400
    hub.dataset("allenai/math_qa").commit({"README.md": card("MathQA"), "math_qa.py": script})


def relu(hub: FakeHub, full_size: bool) -> None:
    repo = hub.repo("kernel", "kernels-community/relu")
    repo.facts |= {
        "authorData": {"name": "kernels-community", "type": "org"},
        "supportedDriverFamilies": ["cuda"],
    }
    repo.commit({".gitattributes": "", "benchmarks/benchmark.py": "print('main')\n"})
    repo.commit({"benchmarks/benchmark.py": "print('v1')\n"}, on="v1")


def small_ones(hub: FakeHub, full_size: bool) -> None:
    """Those of which next to nothing is asked."""
    squad = hub.dataset("rajpurkar/squad")
    squad.commit({"README.md": card("SQuAD"), "plain_text/train.parquet": Generated(FEW, 14)})
    hub.space("gradio/theme_builder").commit(
        {"README.md": card("Theme builder", sdk="gradio"), "run.py": "print()\n"}
    )
    hub.dataset("HuggingFaceH4/no_robots").commit({"README.md": card("No Robots")})
    hub.space("HuggingFaceH4/zephyr-chat").commit({"README.md": card("Zephyr Chat", sdk="docker")})
    hub.model("zai-org/GLM-5.2").commit({"README.md": card("GLM")})
    hub.dataset("openai/gsm8k").commit({"README.md": card("GSM8K")})
    flux = hub.space("black-forest-labs/FLUX.1-dev")
    flux.facts["models"] = ["black-forest-labs/FLUX.1-dev"]
    flux.commit({"README.md": card("FLUX.1 [dev]", sdk="gradio")})
    hub.model("Qwen/Qwen3-0.6B").commit({"README.md": card("Qwen3-0.6B", library_name="transformers")})
    hub.dataset("HuggingFaceFW/fineweb").commit({"README.md": card("🍷 FineWeb", license="odc-by")})
    hub.space("mteb/leaderboard").commit({"README.md": card("MTEB Leaderboard", license="mit", sdk="docker")})
    front = {"title": "Dreambooth Training", "sdk": "gradio"}
    hub.space("multimodalart/dreambooth-training").commit({"README.md": card("Dreambooth", **front)})
    hub.model("teknium/OpenHermes-2.5-Mistral-7B").commit({"README.md": card("OpenHermes")})


BUILDERS: tuple[Callable[[FakeHub, bool], None], ...] = (
    dummy_unknown,
    renamed,
    cache_layout,
    scanned,
    xet_dummy,
    very_large,
    gpt2,
    openjourney,
    zephyr,
    bloomz,
    safetensors_by_pull,
    long_header,
    openchat,
    t5,
    gaia,
    custom_squad,
    c4,
    admin,
    math_qa,
    relu,
    small_ones,
)


def build(hub: FakeHub, *, full_size: bool = False) -> None:
    """Put all stand-ins in."""
    for builder in BUILDERS:
        builder(hub, full_size)


def wanted(seeds: Path = SEEDS) -> dict[str, list[str]]:
    """The repos that a list of seeds names, by tier."""
    listed = json.loads(seeds.read_text())
    return {tier: [id for row in listed[tier] for id in _ids(row["repo"])] for tier in TIERS}


def _ids(text: str) -> list[str]:
    """The ids in a row like `a/b -> a/c` or `a/b (also reachable as b)`."""
    return re.findall(r"[\w.-]+/[\w.-]*\w", text)


def missing(hub: FakeHub, seeds: Path = SEEDS) -> dict[str, list[str]]:
    """Of the repos that a list of seeds names, those that a Hub has not, by tier."""
    here = hub.names()
    return {tier: [id for id in ids if id.lower() not in here] for tier, ids in wanted(seeds).items()}
