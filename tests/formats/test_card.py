"""Cards: what they say, whether the Hub would take them, and what is read off a repo's files."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubreg.formats.card import Card, ReadOff, facts, parse_card, render_findings, validate
from hubreg.model import RepoType

MODEL, DATASET, SPACE = RepoType.MODEL, RepoType.DATASET, RepoType.SPACE


def errors(yaml: str, type_: RepoType = MODEL) -> list[str]:
    return validate(f"---\n{yaml}\n---\n", type_)[0]


def read(yaml: str, config: object = None, paths: tuple[str, ...] = (), type_: RepoType = MODEL) -> ReadOff:
    body = json.dumps(config).encode() if config is not None else None
    return facts(parse_card(f"---\n{yaml}\n---\n"), body, paths, type_)


def test_a_card_is_its_metadata_and_its_text() -> None:
    """Dates stay text, for JSON has none."""
    text = "---\nlicense: mit\nlanguage: [en, no]\ndate: 2024-01-01\n---\n# Title\n"
    card = parse_card(text)
    assert card == Card({"license": "mit", "language": ["en", "no"], "date": "2024-01-01"}, "# Title\n", ())


@pytest.mark.parametrize(
    ("text", "card"),
    [
        ("", Card()),
        ("# No metadata", Card({}, "# No metadata")),
        ("---\n---\nbody", Card({}, "body")),
        ("---\n- a\n---\nbody", Card({}, "body", ("Invalid YAML: the metadata must be a mapping",))),
        ("---\na: *b\n---\nbody", Card({}, "body", ('Invalid YAML: unidentified alias "b"',))),
        ("---\na: 1\na: 2\n---\n", Card({"a": 2}, "", ('Invalid YAML: duplicated mapping key "a"',))),
    ],
)
def test_a_broken_card_is_read_all_the_same(text: str, card: Card) -> None:
    """Reading never raises: what is wrong is listed."""
    assert parse_card(text) == card


# Validation


def test_a_sound_card_has_no_findings() -> None:
    """What the client's own samples hold."""
    yaml = (
        "license: [bsd-3-clause]\nlanguage:\n- en\n- zh-Hans\ntags: [a]\ndatasets: [a/b, squad]\nbase_model: a/b\n"
        "pipeline_tag: text-generation\nmodel-index:\n- name: m\n  results:\n  - task: {type: t}\n"
        "    dataset: {type: d, name: D}\n    metrics:\n    - {type: acc, value: 0.9}\n"
    )
    assert validate(f"---\n{yaml}---\nbody", MODEL) == ([], [])


def test_a_card_without_metadata_is_a_warning() -> None:
    """As on the Hub; it is no reason to refuse a commit."""
    assert validate("# Title", MODEL) == ([], ["empty or missing yaml metadata in repo card"])


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("license: asdf", '"license" must be one of [apache-2.0, mit, openrail, '),
        ("license: [mit, asdf]", '"license[1]" must be one of [apache-2.0, '),
        ("license: 1", '"license" must be one of ['),
        ("model-index: foo", '"model-index" must be an array'),
        ("tags: x", '"tags" must be an array'),
        ("tags: [a, 1]", '"tags[1]" must be a string'),
        ("pipeline_tag: [a]", '"pipeline_tag" must be a string'),
        ("language: english", '"language" with value "english" is not valid. It must be an ISO 639-1'),
        ("language: [en, pt_pt]", '"language[1]" with value "pt_pt" is not valid. It must be an ISO 639-1'),
        ("base_model: Kokoro 82M", '"base_model" with value "Kokoro 82M" is not valid. Use a model id from'),
        ("base_model: /home/x/y", '"base_model" with value "/home/x/y" is not valid. Use a model id from'),
        (
            "datasets: [a b]",
            '"datasets[0]" with value "a b" is not valid. If possible, use a dataset id from',
        ),
        ("base_model: {a: b}", '"base_model" must be a string'),
        ("a: [", "Invalid YAML: "),
        ("model-index: [{results: []}]", '"model-index[0].name" is required'),
        ("model-index: [{name: 1, results: []}]", '"model-index[0].name" must be a string'),
        ("model-index: [{name: a, results: {}}]", '"model-index[0].results" must be an array'),
        ("model-index: [1]", '"model-index[0]" must be of type object'),
        (
            "model-index: [{name: a, results: [{task: {}}]}]",
            '"model-index[0].results[0].dataset" is required',
        ),
        (
            "model-index: [{name: a, results: [{task: {}, dataset: {type: x, name: y}, metrics: [{type: a}]}]}]",
            '"model-index[0].results[0].metrics[0].value" is required',
        ),
    ],
)
def test_what_the_hub_refuses(yaml: str, message: str) -> None:
    """The Hub's sentences, with the name of what is wrong first: people look them up."""
    assert any(found.startswith(message) for found in errors(yaml)), errors(yaml)


def test_a_space_says_how_it_runs() -> None:
    """The kinds of Space and the colours of its tile are from lists."""
    assert errors("sdk: gradio\ncolorFrom: red\ncolorTo: pink", SPACE) == []
    assert errors("sdk: cobol", SPACE) == ['"sdk" must be one of [gradio, docker, static, streamlit]']
    assert errors("sdk: cobol", MODEL) == []
    assert errors("colorTo: mauve", SPACE)[0].startswith('"colorTo" must be one of [red, ')


def test_a_task_that_nobody_knows_is_a_warning() -> None:
    """People invent tasks; the Hub only says so."""
    found, warnings = validate("---\npipeline_tag: cooking\n---\n", MODEL)
    assert found == []
    assert warnings[0].startswith(
        'The pipeline tag "cooking" is not in the official list: text-classification, '
    )


def test_findings_as_text_are_what_the_client_matches() -> None:
    """`RepoCard.validate` asks for text/plain and shows the body."""
    text = render_findings(errors("license: asdf"), ["w"])
    assert text.startswith('- Error: "license" must be one of [')
    assert text.endswith("\n- Warning: w")


def test_findings_are_bounded() -> None:
    """A card with a thousand mistakes does not make an answer of a thousand lists."""
    assert len(errors(f"license: [{', '.join(['x'] * 1000)}]")) == 50


# What is read off


def in_order(tags: tuple[str, ...], *expected: str) -> bool:
    return all(tags.index(before) < tags.index(after) for before, after in pairwise(expected))


def test_a_transformers_model() -> None:
    """Library, files, architecture, task, own tags, language, data, papers, base, licence, region: the Hub's order."""
    found = facts(
        parse_card(
            "---\nlicense: mit\nlanguage: en\ntags: [generated_from_trainer]\ndatasets:\n- a/ultra\n"
            "base_model: a/base\nmodel-index: [{name: x, results: []}]\n---\n"
            "[paper](https://arxiv.org/abs/2305.18290), again https://arxiv.org/pdf/2305.18290v2 and https://huggingface.co/papers/2310.16944"
        ),
        b'{"architectures": ["MistralForCausalLM"], "model_type": "mistral", "eps": NaN, "secret": 1}',
        ["model-1.safetensors", "x/pytorch_model.bin", "config.json", "runs/a/events.out.tfevents.1.host"],
    )
    assert found.tags == (
        "transformers", "pytorch", "tensorboard", "safetensors", "mistral", "text-generation",
        "generated_from_trainer", "en", "dataset:a/ultra", "arxiv:2305.18290", "arxiv:2310.16944", "base_model:a/base",
        "base_model:finetune:a/base", "license:mit", "model-index", "region:us",
    )  # fmt: skip
    assert (found.pipeline_tag, found.library) == ("text-generation", "transformers")
    assert json.loads(found.config) == {"architectures": ["MistralForCausalLM"], "model_type": "mistral"}
    assert json.loads(found.card)["license"] == "mit"


@pytest.mark.parametrize(
    ("yaml", "paths", "library"),
    [
        ("library_name: x", ("adapter_config.json",), "x"),
        ("", ("adapter_config.json", "adapter_model.safetensors"), "peft"),
        ("", ("config_sentence_transformers.json", "modules.json"), "sentence-transformers"),
        ("", ("model_index.json",), "diffusers"),
        ("", ("config.json",), "transformers"),
    ],
)
def test_the_library_is_named_or_told_by_a_file(yaml: str, paths: tuple[str, ...], library: str) -> None:
    """What the card says goes first."""
    found = read(yaml, {"model_type": "bert"}, paths)
    assert found.library == library
    assert found.tags[0] == library


@pytest.mark.parametrize(
    ("yaml", "config", "task"),
    [
        ("pipeline_tag: cooking", {"architectures": ["BertForMaskedLM"]}, "cooking"),
        ("tags: [x, token-classification]", {"architectures": ["BertForMaskedLM"]}, "token-classification"),
        ("", {"architectures": ["BertForMaskedLM"]}, "fill-mask"),
        ("", {"architectures": ["GPT2LMHeadModel"]}, "text-generation"),
        ("", {"architectures": ["BertModel"]}, "feature-extraction"),
        ("", {"architectures": ["WhisperForConditionalGeneration"]}, "automatic-speech-recognition"),
        ("", {"architectures": ["Strange"]}, ""),
        ("library_name: sentence-transformers", {"architectures": ["BertModel"]}, "sentence-similarity"),
        ("library_name: own", {"architectures": ["BertModel"]}, ""),
    ],
)
def test_the_task_is_named_or_told_by_the_architecture(yaml: str, config: object, task: str) -> None:
    """The card, then a tag that is a task, then the class of the model."""
    found = read(yaml, config)
    assert found.pipeline_tag == task
    assert (task in found.tags) == bool(task)


@pytest.mark.parametrize(
    ("yaml", "config", "paths", "relation"),
    [
        ("base_model: a/b", {}, (), "finetune"),
        ("base_model: a/b", {}, ("adapter_config.json",), "adapter"),
        ("base_model: a/b\ntags: [lora]", {}, (), "adapter"),
        ("base_model: a/b", {}, ("x-Q4_K_M.gguf",), "quantized"),
        ("base_model: a/b", {"quantization_config": {"bits": 4}}, (), "quantized"),
        ("base_model: [a/b, c/d]", {}, (), "merge"),
        ("base_model: a/b\nbase_model_relation: merge", {}, ("adapter_config.json",), "merge"),
        ("base_model: a/b\nbase_model_relation: nonsense", {}, (), "finetune"),
    ],
)
def test_how_a_model_came_from_its_base(
    yaml: str, config: object, paths: tuple[str, ...], relation: str
) -> None:
    """Two tags for each base: that it is one, and what was done to it."""
    tags = read(yaml, config, paths).tags
    assert "base_model:a/b" in tags
    assert f"base_model:{relation}:a/b" in tags


def test_quantization_is_read_off_the_configuration() -> None:
    """The method and the bits are tags; the rest of the configuration stays in its file."""
    quantization = {"quant_method": "gptq", "bits": 4, "group_size": 128}
    found = read("", {"model_type": "llama", "quantization_config": quantization})
    assert in_order(found.tags, "llama", "gptq", "4-bit", "region:us")
    assert json.loads(found.config)["quantization_config"] == {"quant_method": "gptq", "bits": 4}
    assert "8-bit" in read("", {"quantization_config": {"load_in_8bit": True}}).tags


def test_a_dataset() -> None:
    """Most keys of a dataset's card are tags with the key before them."""
    yaml = (
        "license: cc-by-4.0\nlanguage: [en, fr]\ntask_categories:\n- question-answering\n"
        "size_categories: n<1K\ntags: [x]"
    )
    found = read(yaml, None, ("data/train.parquet", "a.csv", "README.md"), DATASET)
    assert found.tags == (
        "task_categories:question-answering", "language:en", "language:fr", "license:cc-by-4.0", "size_categories:n<1K",
        "format:parquet", "format:csv", "x", "region:us",
    )  # fmt: skip
    assert (found.pipeline_tag, found.library) == ("", "")


def test_a_space() -> None:
    """The SDK is its first tag."""
    assert read("sdk: gradio\nlicense: mit\ntags: [demo]", None, (), SPACE).tags == (
        "gradio", "demo", "license:mit", "region:us",
    )  # fmt: skip


@pytest.mark.parametrize(
    "config",
    [b"", b"{", b"[]", b"\xff", b"null", b"[" * 100_000, b'{"architectures": 1, "model_type": {}}', b"9" * 5000,
     b'{"architectures": [1, null], "quantization_config": []}', b'{"quantization_config": {"bits": 1e400}}',
     b'{"quantization_config": {"bits": true, "quant_method": "a\\nb"}}', b'{"model_type": "\\ud800"}',
     b'{"architectures": ["\\ud800"]}'],
)  # fmt: skip
def test_a_configuration_of_any_kind_is_no_error(config: bytes) -> None:
    """`config.json` is anybody's file: a key of the wrong type is as good as absent."""
    found = facts(Card(), config, ["config.json"])
    assert found.tags == ("region:us",)
    assert not set(json.loads(found.config)) - {"quantization_config"}


def test_tags_are_bounded() -> None:
    """A card cannot fill the database or an answer with tags, nor with one."""
    yaml = "tags:\n" + "".join(f"- t{n}\n" for n in range(5000)) + f"- {'x' * 300}\n- \"a\\nb\"\n- ''\n- t1"
    tags = read(yaml).tags
    assert len(tags) == len(set(tags)) == 1000
    assert tags[-1] == "region:us"
    assert read(f"tags: [\"a\\nb\", '', {'x' * 300}, ok]").tags == ("ok", "region:us")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
KEYS = (
    "license language tags datasets base_model base_model_relation pipeline_tag library_name model-index configs sdk"
    " task_categories size_categories colorFrom architectures model_type quantization_config"
).split()


@given(
    st.dictionaries(st.sampled_from(KEYS), values), st.sampled_from(RepoType), st.lists(st.text(max_size=12))
)
def test_no_value_under_any_key_is_an_error(
    data: dict[str, object], type_: RepoType, paths: list[str]
) -> None:
    """Whatever a card and a configuration hold, validating and reading off end in an answer that JSON can carry."""
    text = json.dumps(data)
    validate(f"---\n{text}\n---\n", type_)
    found = facts(parse_card(f"---\n{text}\n---\n"), text.encode(), paths, type_)
    json.loads(found.card)
    json.loads(found.config)
    assert all(tag.isprintable() for tag in found.tags)


@given(st.text(max_size=80) | st.text("-\n: abc[]{}&*", max_size=40).map("---\n{}\n---\n".format))
def test_any_text_is_a_card(text: str) -> None:
    """Reading a README never raises; what is shown of it is JSON, and what is wrong with it is said in sentences."""
    card = parse_card(text)
    assert isinstance(json.loads(facts(card, None, []).card), dict)
    errors, warnings = validate(text, MODEL)
    assert all((*errors, *warnings))
