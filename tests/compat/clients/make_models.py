"""Make every tiny model, adapter and dataset that the clients load: make_models.py FOLDER. Seeded, no network."""

import json
import struct
import sys
from pathlib import Path

import numpy
import onnx
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from onnx import TensorProto, helper, numpy_helper
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] <s> </s> the hub serves a small model to every client on this machine".split()
VOCABULARY = {word: index for index, word in enumerate([*WORDS, *(f"w{n}" for n in range(64 - len(WORDS)))])}


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")


def write_tokenizer(folder: Path, kind: str) -> None:
    """The three files that every generation of the clients reads; none of them names a class of one version only."""
    if kind == "bert":
        tokenizer = Tokenizer(models.WordPiece(VOCABULARY, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        pairs = [("[CLS]", VOCABULARY["[CLS]"]), ("[SEP]", VOCABULARY["[SEP]"])]
        tokenizer.post_processor = processors.BertProcessing(pairs[1], pairs[0])
        special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
        special["mask_token"] = "[MASK]"
    else:
        tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "bos_token": "<s>", "eos_token": "</s>"}
    tokenizer.add_special_tokens(list(special.values()))
    tokenizer.save(str(folder / "tokenizer.json"))
    name = "BertTokenizer" if kind == "bert" else "PreTrainedTokenizerFast"
    write_json(folder / "tokenizer_config.json", special | {"tokenizer_class": name, "model_max_length": 64})
    write_json(folder / "special_tokens_map.json", special)
    if kind == "bert":
        (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")


def llama(seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(VOCABULARY), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings=False,
        bos_token_id=VOCABULARY["<s>"], eos_token_id=VOCABULARY["</s>"], pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def make_llama(folder: Path, *, seed: int = 1, shard: str = "1GB") -> None:
    llama(seed).save_pretrained(folder, max_shard_size=shard)
    write_tokenizer(folder, "llama")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A tiny model\n")


def make_lora(folder: Path, base: str) -> None:
    torch.manual_seed(2)
    wanted = LoraConfig(
        r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM"
    )
    adapter = get_peft_model(llama(1), wanted)
    adapter.peft_config["default"].base_model_name_or_path = base
    adapter.save_pretrained(folder)
    (folder / "README.md").write_text(f"---\nbase_model: {base}\n---\n# A tiny adapter\n")


def make_bert(folder: Path) -> None:
    """Loadable by transformers, sentence-transformers and hf-hub in Rust alike: mean pooling, normalized."""
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(VOCABULARY), hidden_size=64, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=128, max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).eval().save_pretrained(folder)
    write_tokenizer(folder, "bert")
    pooling = {
        "word_embedding_dimension": 64,
        "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": True,
    }
    package = "sentence_transformers.models"
    parts = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {"idx": n, "name": str(n), "path": path, "type": f"{package}.{name}"}
        for n, (path, name) in enumerate(parts)
    ]
    write_json(folder / "modules.json", modules)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 64, "do_lower_case": False})
    write_json(
        folder / "config_sentence_transformers.json", {"__version__": {}, "similarity_fn_name": "cosine"}
    )
    write_json(folder / "1_Pooling" / "config.json", pooling)
    (folder / "README.md").write_text("---\npipeline_tag: sentence-similarity\n---\n# A tiny encoder\n")


def make_onnx(folder: Path) -> None:
    """A graph that only looks words up: what transformers.js returns can be checked row by row."""
    write_tokenizer_and_config(folder)
    table = numpy.random.default_rng(4).standard_normal((len(VOCABULARY), 8)).astype(numpy.float32)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"]) for name in names]
    output = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "length", 8])
    node = helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"])
    graph = helper.make_graph([node], "lookup", inputs, [output], [numpy_helper.from_array(table, "table")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (folder / "onnx").mkdir()
    onnx.save(model, str(folder / "onnx" / "model.onnx"))
    write_json(folder / "table.json", table.tolist())


def write_tokenizer_and_config(folder: Path) -> None:
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": 8,
        "vocab_size": len(VOCABULARY),
    }
    write_json(folder / "config.json", config | {"num_attention_heads": 1, "num_hidden_layers": 1})
    write_tokenizer(folder, "bert")


def make_diffusion(folder: Path) -> None:
    torch.manual_seed(5)
    unet = UNet2DModel(
        sample_size=8, in_channels=3, out_channels=3, layers_per_block=1, block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
    )  # fmt: skip
    DDPMPipeline(unet, DDPMScheduler(num_train_timesteps=10)).save_pretrained(folder)


def make_dataset(folder: Path) -> None:
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: cc0-1.0\n---\n# Rows\n")
    for split, count in {"train": 40, "test": 10}.items():
        rows = [json.dumps({"id": n, "text": f"{split} row {n} "}) for n in range(count)]
        (folder / "data" / f"{split}.jsonl").write_text("\n".join(rows) + "\n")


def make_gguf(folder: Path) -> None:
    """Version 3, no tensors, two facts: enough for a reader of the header."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    facts = [("general.architecture", "llama"), ("general.name", "tiny")]
    header = b"GGUF" + struct.pack("<IQQ", 3, 0, len(facts))
    body = b"".join(text(key) + struct.pack("<I", 8) + text(value) for key, value in facts)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.gguf").write_bytes((header + body).ljust(4096, b"\0"))


def main() -> None:
    out = Path(sys.argv[1])
    for name in ("llama", "sharded", "second", "lora", "bert", "onnx", "diffusion", "dataset", "gguf"):
        (out / name).mkdir(parents=True, exist_ok=True)
    make_llama(out / "llama")
    make_llama(out / "second", seed=7)
    make_llama(out / "sharded", shard="150KB")
    make_lora(out / "lora", base="acme/tiny-llama")
    make_bert(out / "bert")
    make_onnx(out / "onnx")
    make_diffusion(out / "diffusion")
    make_dataset(out / "dataset")
    make_gguf(out / "gguf")


if __name__ == "__main__":
    main()
