"""
The card of a repo: what the YAML of its README says, whether the Hub would accept it, and what is read off it
and off the names of the repo's files: tags, task, library (HUB 5.1, 5.2).

Reading never fails. A card that is broken is empty and says why in `problems`; a value of another type than
expected is passed over; tags are bounded in number and length. The order of tags and the rules by which
library, task and relation to the base model are found follow what the Hub shows; where it looks into weights,
we do not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from hubreg.errors import Invalid
from hubreg.formats import frontmatter
from hubreg.formats.vocabulary import LICENSES, TASK_OF_CLASS, TASKS
from hubreg.model import RepoType

_MAX_TAGS = 1000
_MAX_TAG = 200  # characters
_MAX_FINDINGS = 50
_MAX_ARCHITECTURES = 16
_MAX_BODY = 1 << 20  # characters that are searched for papers

_REPO_ID = re.compile(r"(?:[\w.-]{1,96}/)?[\w.-]{1,96}", re.ASCII)
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,3}|code|multilingual|other|unknown")
_PAPER = re.compile(
    r"(?:arxiv\.org/(?:abs|pdf)|(?:huggingface\.co|hf\.co)/papers)/([0-9]{4}\.[0-9]{4,5})", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Card:
    """`data` is plain JSON values; `problems` is why it is less than the text meant to say."""

    data: dict[str, object] = field(default_factory=dict)
    body: str = ""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadOff:
    """What a repo's files say of it. `card` and `config` are JSON."""

    tags: tuple[str, ...]
    pipeline_tag: str
    library: str
    card: str
    config: str


def parse_card(text: str) -> Card:
    """Never raises: what is wrong with the text is in `problems`."""
    yaml, body = frontmatter.split(text)
    if yaml is None:
        return Card({}, body)
    try:
        data, problems = frontmatter.parse(yaml)
    except Invalid as error:
        return Card({}, body, (f"Invalid YAML: {error.message}",))
    if data is None:
        return Card({}, body)
    if not isinstance(data, dict):
        return Card({}, body, ("Invalid YAML: the metadata must be a mapping",))
    return Card(data, body, tuple(f"Invalid YAML: {problem}" for problem in problems))


# Whether the Hub would accept it


def validate(text: str, repo_type: RepoType) -> tuple[list[str], list[str]]:
    """
    Errors and warnings about a README, in the Hub's sentences (CLIENT_API A18). With an error it is refused.
    """
    card = parse_card(text)
    errors = list(card.problems)
    if not card.data:
        return errors, ([] if errors else ["empty or missing yaml metadata in repo card"])
    data = card.data
    errors += _wrong_license(data)
    errors += _wrong_lists(data)
    errors += _wrong_languages(data)
    errors += _wrong_ids(data, "base_model", "Use a model id from https://hf.co/models.")
    errors += _wrong_ids(data, "datasets", "If possible, use a dataset id from https://hf.co/datasets.")
    if repo_type is RepoType.MODEL:
        errors += _wrong_model_index(data)
    if repo_type is RepoType.SPACE:
        errors += _not_one_of("sdk", data.get("sdk"), ("gradio", "docker", "static", "streamlit"))
        for key in ("colorFrom", "colorTo"):
            errors += _not_one_of(key, data.get(key), _COLOURS)
    return errors[:_MAX_FINDINGS], _unknown_tasks(data)[:_MAX_FINDINGS]


def render_findings(errors: Iterable[str], warnings: Iterable[str]) -> str:
    """
    The findings as text, for the caller that asks for `text/plain` (`RepoCard.validate` of the Python
    client).
    """
    lines = [f"- Error: {error}" for error in errors] + [f"- Warning: {warning}" for warning in warnings]
    return "\n".join(lines)


_COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")


def _items(data: Mapping[str, object], key: str) -> Iterator[tuple[str, object]]:
    """The values under a key that may hold one or a list, each with the name that the Hub gives it."""
    value = data.get(key)
    if isinstance(value, list):
        yield from ((f"{key}[{index}]", item) for index, item in enumerate(value))
    elif value is not None:
        yield key, value


def _not_one_of(name: str, value: object, allowed: Sequence[str]) -> Iterator[str]:
    if value is not None and value not in allowed:
        yield f'"{name}" must be one of [{", ".join(allowed)}]'


def _wrong_license(data: Mapping[str, object]) -> Iterator[str]:
    for name, value in _items(data, "license"):
        yield from _not_one_of(name, value, LICENSES)


def _wrong_lists(data: Mapping[str, object]) -> Iterator[str]:
    for key in ("tags", "configs", "model-index"):
        if key in data and data[key] is not None and not isinstance(data[key], list):
            yield f'"{key}" must be an array'
    for name, value in _items(data, "tags"):
        if not isinstance(value, str):
            yield f'"{name}" must be a string'
    for key in ("pipeline_tag", "library_name", "pretty_name", "license_name", "license_link"):
        if key in data and not isinstance(data[key], str | None):
            yield f'"{key}" must be a string'


def _wrong_languages(data: Mapping[str, object]) -> Iterator[str]:
    for name, value in _items(data, "language"):
        if not isinstance(value, str):
            yield f'"{name}" must be a string'
        elif not _LANGUAGE.fullmatch(value):
            yield (
                f'"{name}" with value "{_short(value)}" is not valid. It must be an ISO 639-1, 639-2 or 639-3 code'
                ' (two/three letters), or a special value like "code", "multilingual". If you want to use BCP-47'
                " identifiers, you can specify them in language_bcp47."
            )


def _wrong_ids(data: Mapping[str, object], key: str, advice: str) -> Iterator[str]:
    for name, value in _items(data, key):
        if not isinstance(value, str):
            yield f'"{name}" must be a string'
        elif not _REPO_ID.fullmatch(value):
            yield f'"{name}" with value "{_short(value)}" is not valid. {advice}'


def _wrong_model_index(data: Mapping[str, object]) -> Iterator[str]:
    models = data.get("model-index")
    for index, model in enumerate(models if isinstance(models, list) else []):
        name = f"model-index[{index}]"
        yield from _lacks(model, name, {"name": str, "results": list})
        results = model.get("results") if isinstance(model, dict) else None
        for number, result in enumerate(results if isinstance(results, list) else []):
            yield from _wrong_result(result, f"{name}.results[{number}]")


def _wrong_result(result: object, name: str) -> Iterator[str]:
    yield from _lacks(result, name, {"task": dict, "dataset": dict, "metrics": list})
    if not isinstance(result, dict):
        return
    if isinstance(result.get("task"), dict):
        yield from _lacks(result["task"], f"{name}.task", {"type": str})
    if isinstance(result.get("dataset"), dict):
        yield from _lacks(result["dataset"], f"{name}.dataset", {"type": str, "name": str})
    metrics = result.get("metrics")
    for index, metric in enumerate(metrics if isinstance(metrics, list) else []):
        yield from _lacks(metric, f"{name}.metrics[{index}]", {"type": str, "value": object})


_KINDS: dict[type, str] = {str: "a string", list: "an array", dict: "of type object"}


def _lacks(value: object, name: str, required: Mapping[str, type]) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f'"{name}" must be of type object'
        return
    for key, kind in required.items():
        if key not in value:
            yield f'"{name}.{key}" is required'
        elif not isinstance(value[key], kind):
            yield f'"{name}.{key}" must be {_KINDS[kind]}'


def _unknown_tasks(data: Mapping[str, object]) -> list[str]:
    official = ", ".join(TASKS)
    warnings = []
    for key, what in (("pipeline_tag", "pipeline tag"), ("task_categories", "task_categories")):
        for _, value in _items(data, key):
            if isinstance(value, str) and value not in TASKS:
                warnings.append(f'The {what} "{_short(value)}" is not in the official list: {official}')
    return warnings


def _short(value: str) -> str:
    return value if len(value) <= _MAX_TAG else value[:_MAX_TAG] + "…"


# What is read off


# Files that tell the library of a model, the more telling first.
_LIBRARY_FILES = {
    "adapter_config.json": "peft",
    "config_sentence_transformers.json": "sentence-transformers",
    "modules.json": "sentence-transformers",
    "model_index.json": "diffusers",
    "open_clip_config.json": "open_clip",
}

# Files that tell of a framework or a format, by their names, in the order in which the Hub lists the tags.
_FRAMEWORK_FILES = {
    "pytorch": r"(?:pytorch_model|adapter_model).*\.bin|.*\.pth?",
    "tf": r"tf_model.*\.h5",
    "jax": r"flax_model.*\.msgpack",
    "tflite": r".*\.tflite",
    "rust": r"rust_model\.ot",
    "onnx": r".*\.onnx",
    "tensorboard": r"events\.out\.tfevents.*",
    "safetensors": r".*\.safetensors",
    "gguf": r".*\.gguf",
    "openvino": r"openvino.*\.xml",
    "coreml": r".*\.(?:mlmodel|mlpackage)",
    "keras": r".*\.keras|saved_model\.pb",
    "joblib": r".*\.joblib",
}
_FORMAT_FILES = {
    "parquet": r".*\.parquet",
    "arrow": r".*\.arrow",
    "csv": r".*\.[ct]sv",
    "json": r".*\.jsonl?(?:\.gz|\.zst)?",
    "text": r".*\.txt",
}


def _one_of(kinds: Mapping[str, str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in kinds.items()), re.DOTALL)


_FRAMEWORK = _one_of(_FRAMEWORK_FILES)
_FORMAT = _one_of(_FORMAT_FILES)

# Keys of a dataset's card whose values are tags with the key before them, in the Hub's order.
_DATASET_KEYS = (
    "task_categories task_ids annotations_creators language_creators multilinguality source_datasets language"
    " license size_categories"
).split()


def facts(
    card: Card, config: bytes | None, paths: Iterable[str], repo_type: RepoType = RepoType.MODEL
) -> ReadOff:
    """`config` is the repo's `config.json`, `paths` are the paths of its files. Never raises."""
    names = {path.rpartition("/")[2] for path in paths}
    read = _read_config(config)
    library = task = ""
    if repo_type is RepoType.MODEL:
        library = _library(card.data, names, read)
        task = _task(card.data, library, read)
        tags = _model_tags(card, names, read, library, task)
    elif repo_type is RepoType.DATASET:
        tags = _dataset_tags(card, names)
    else:
        tags = _space_tags(card)
    bounded = [tag for tag in dict.fromkeys(tags) if 0 < len(tag) <= _MAX_TAG and tag.isprintable()]
    return ReadOff(
        (*bounded[: _MAX_TAGS - 1], "region:us"),
        task,
        library,
        msgspec.json.encode(card.data).decode(),
        msgspec.json.encode(read).decode(),
    )


def _texts(data: Mapping[str, object], key: str) -> list[str]:
    return [value for _, value in _items(data, key) if isinstance(value, str)]


def _text(data: Mapping[str, object], key: str) -> str:
    value = data.get(key)
    return value if isinstance(value, str) and len(value) <= _MAX_TAG and value.isprintable() else ""


def _read_config(config: bytes | None) -> dict[str, object]:
    """What the Hub shows of a `config.json`."""
    try:
        # Not msgspec: Python's writers put `NaN` and `Infinity` into these files.
        whole = json.loads(config or b"{}")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(whole, dict):
        return {}
    read: dict[str, object] = {}
    names = [name for name in _texts(whole, "architectures") if len(name) <= _MAX_TAG and name.isprintable()]
    if names:
        read["architectures"] = names[:_MAX_ARCHITECTURES]
    if model_type := _text(whole, "model_type"):
        read["model_type"] = model_type
    quantization = whole.get("quantization_config")
    if isinstance(quantization, dict):
        read["quantization_config"] = _read_quantization(quantization)
    return read


def _read_quantization(whole: Mapping[str, object]) -> dict[str, object]:
    read: dict[str, object] = {}
    if method := _text(whole, "quant_method"):
        read["quant_method"] = method
    loaded_in = 4 if whole.get("load_in_4bit") is True else 8 if whole.get("load_in_8bit") is True else None
    bits = whole.get("bits", loaded_in)
    if isinstance(bits, int) and not isinstance(bits, bool) and 0 < bits <= 64:
        read["bits"] = bits
    return read


def _library(data: Mapping[str, object], names: set[str], config: Mapping[str, object]) -> str:
    if named := _text(data, "library_name"):
        return named
    for name, library in _LIBRARY_FILES.items():
        if name in names:
            return library
    return "transformers" if config.get("model_type") or config.get("architectures") else ""


def _task(data: Mapping[str, object], library: str, config: Mapping[str, object]) -> str:
    if named := _text(data, "pipeline_tag"):
        return named
    for tag in _texts(data, "tags"):
        if tag in TASKS:
            return tag
    if library == "sentence-transformers":
        return "sentence-similarity"
    for architecture in _texts(config, "architectures") if library == "transformers" else ():
        for end, task in TASK_OF_CLASS.items():
            if architecture.endswith(end):
                return task
    return ""


def _model_tags(
    card: Card, names: set[str], config: Mapping[str, object], library: str, task: str
) -> Iterator[str]:
    yield library
    yield from _kinds(names, _FRAMEWORK)
    yield _text(config, "model_type")
    yield task
    yield from _texts(card.data, "tags")
    yield from _texts(card.data, "language")
    yield from (f"dataset:{name}" for name in _texts(card.data, "datasets"))
    yield from _papers(card)
    bases = _texts(card.data, "base_model")
    relation = _relation(card.data, names, config, library, bases)
    yield from (f"base_model:{name}" for name in bases)
    yield from (f"base_model:{relation}:{name}" for name in bases)
    yield from (f"license:{name}" for name in _texts(card.data, "license"))
    if card.data.get("model-index"):
        yield "model-index"
    quantization = config.get("quantization_config")
    if isinstance(quantization, dict):
        yield _text(quantization, "quant_method")
        yield f"{quantization['bits']}-bit" if "bits" in quantization else ""


def _relation(
    data: Mapping[str, object], names: set[str], config: Mapping[str, object], library: str, bases: list[str]
) -> str:
    """
    How a model came from its base: `base_model_relation`, else what the files say (HUB 5.1, `baseModels`).
    """
    named = _text(data, "base_model_relation")
    if named in ("adapter", "merge", "quantized", "finetune"):
        return named
    if library == "peft" or "adapter_config.json" in names or "lora" in _texts(data, "tags"):
        return "adapter"
    if len(bases) > 1:
        return "merge"
    if "quantization_config" in config or any(name.endswith(".gguf") for name in names):
        return "quantized"
    return "finetune"


def _dataset_tags(card: Card, names: set[str]) -> Iterator[str]:
    for key in _DATASET_KEYS:
        yield from (f"{key}:{value}" for value in _texts(card.data, key))
    yield from (f"format:{kind}" for kind in _kinds(names, _FORMAT))
    yield from _papers(card)
    yield from _texts(card.data, "tags")


def _space_tags(card: Card) -> Iterator[str]:
    yield _text(card.data, "sdk")
    yield from _texts(card.data, "tags")
    yield from (f"license:{name}" for name in _texts(card.data, "license"))


def _kinds(names: set[str], pattern: re.Pattern[str]) -> list[str]:
    """Which kinds of file there are, in the order of the pattern."""
    found = {match.lastgroup for name in names if (match := pattern.fullmatch(name))}
    return [kind for kind in pattern.groupindex if kind in found]


def _papers(card: Card) -> Iterator[str]:
    """Papers that the text links to, as `arxiv:1910.09700`."""
    for match in _PAPER.finditer(card.body, 0, _MAX_BODY):
        yield f"arxiv:{match[1]}"
