"""The two Llama 4 models as they come out of the installed packages, held against what Meta publishes about the real ones."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from deployments import small_models

SCOUT, MAVERICK = "llama-4-scout-tiny", "llama-4-maverick-tiny"
PYTHONIC = Path(__file__).parents[2] / "deployments" / "engine" / "chat_templates" / "llama4_pythonic.jinja"

#: llama-models, `models/llama4/prompt_format.md` and `tokenizer.py`.
PUBLISHED_IDS = {
    "<|begin_of_text|>": 200000,
    "<|end_of_text|>": 200001,
    "<|header_start|>": 200005,
    "<|header_end|>": 200006,
    "<|eom|>": 200007,
    "<|eot|>": 200008,
    "<|python_start|>": 200016,
    "<|python_end|>": 200017,
    "<|finetune_right_pad|>": 200018,
    "<|image_start|>": 200080,
    "<|image_end|>": 200081,
    "<|tile_x_separator|>": 200084,
    "<|tile_y_separator|>": 200085,
    "<|image|>": 200090,
    "<|patch|>": 200092,
    "<|reasoning_thinking_start|>": 201142,
    "<|reasoning_thinking_end|>": 201143,
}
TEXTS = (
    "The herd's 1234567 llamas don't sleep.\n\n\tdef f(x): return x\n",
    "Ça coûte 3,50 €, ¿verdad? สวัสดีครับ नमस्ते العربية Tiếng Việt 🦙🦙",
    "<|header_start|>user<|header_end|>\n\nhello<|eot|>",
)
TOOLS = [
    {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def scout(root: Path) -> Path:
    return small_models.ensure(SCOUT, root)


@pytest.fixture(scope="module")
def maverick(root: Path) -> Path:
    return small_models.ensure(MAVERICK, root)


@pytest.fixture(scope="module")
def processor(scout: Path) -> Any:
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(scout)


@pytest.fixture(scope="module")
def tokenizer(processor: Any) -> Any:
    return processor.tokenizer


def read(directory: Path, name: str) -> Any:
    return json.loads((directory / name).read_text())


def shapes(directory: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import safe_open

    with safe_open(directory / "model.safetensors", "pt") as weights:
        return {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118 - no mapping


def test_special_tokens_have_the_published_ids(tokenizer: Any) -> None:
    assert {token: tokenizer.convert_tokens_to_ids(token) for token in PUBLISHED_IDS} == PUBLISHED_IDS
    assert len(tokenizer) == 202048
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (200000, 200008, 200018)


@pytest.mark.parametrize("text", TEXTS)
def test_text_becomes_the_tokens_of_metas_own_tokenizer(tokenizer: Any, text: str) -> None:
    from llama_models.llama4.tokenizer import Tokenizer

    expected = Tokenizer.get_instance().encode(text, bos=True, eos=False, allowed_special="all")
    assert tokenizer(text)["input_ids"] == expected
    assert tokenizer.decode(expected[1:]) == text


def test_a_conversation_is_rendered_in_llama_4s_format(tokenizer: Any) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    expected = (
        "<|begin_of_text|><|header_start|>system<|header_end|>\n\nBe brief.<|eot|>"
        "<|header_start|>user<|header_end|>\n\nHello<|eot|><|header_start|>assistant<|header_end|>\n\n"
    )
    for template in (None, PYTHONIC.read_text()):
        rendered = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, add_generation_prompt=True)
        assert rendered == expected


def test_the_models_own_template_asks_for_tool_calls_as_json(tokenizer: Any) -> None:
    messages = [{"role": "user", "content": "Rain in Paris?"}]
    rendered = tokenizer.apply_chat_template(messages, tools=TOOLS, tokenize=False)
    assert '"name": "weather"' in rendered
    assert "respond with a JSON for a function call" in rendered


def test_the_pythonic_template_writes_calls_that_python_reads(tokenizer: Any) -> None:
    arguments = {"city": "Pa\"ris'\n\\ é", "days": 3, "metric": True, "at": None, "grid": [1.5, {"k": False, "": []}]}
    called = [{"type": "function", "function": {"name": "weather", "arguments": arguments}}, {"function": {"name": "now", "arguments": {}}}]
    messages = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Rain here?"}]},
        {"role": "assistant", "content": None, "tool_calls": called},
        {"role": "tool", "content": '{"rain": false}'},
    ]
    rendered = tokenizer.apply_chat_template(messages, tools=TOOLS, chat_template=PYTHONIC.read_text(), tokenize=False)
    system, user, assistant, result = rendered.removesuffix("<|eot|>").split("<|eot|>")
    assert json.loads(system[system.index("\n[\n") :]) == [TOOLS[0]["function"]]
    assert user.endswith("<|header_end|>\n\n<|image|>Rain here?")
    assert result == '<|header_start|>ipython<|header_end|>\n\n{"rain": false}'

    calls = ast.parse(assistant.split("<|header_end|>\n\n")[1], mode="eval").body
    assert isinstance(calls, ast.List)
    weather, now = (call for call in calls.elts if isinstance(call, ast.Call))
    assert {keyword.arg: ast.literal_eval(keyword.value) for keyword in weather.keywords} == arguments
    assert isinstance(now.func, ast.Name)
    assert (now.func.id, now.keywords) == ("now", [])


@pytest.mark.parametrize(("size", "tiles", "patches"), [((336, 336), 1, 144), ((672, 672), 5, 5 * 144)])
def test_an_image_becomes_tiles_of_144_patches(processor: Any, size: tuple[int, int], tiles: int, patches: int) -> None:
    from PIL import Image

    inputs = processor(text="<|image|>", images=[Image.new("RGB", size, "red")], return_tensors="pt")
    assert tuple(inputs["pixel_values"].shape) == (tiles, 3, 336, 336)
    assert int((inputs["input_ids"] == PUBLISHED_IDS["<|patch|>"]).sum()) == patches
    assert processor.image_processor.max_patches == 16


def test_scout_has_16_experts_in_every_layer_and_query_and_key_norms(scout: Path) -> None:
    config = read(scout, "config.json")
    text = config["text_config"]
    assert config["architectures"] == ["Llama4ForConditionalGeneration"]
    assert (text["num_local_experts"], text["num_experts_per_tok"], text["moe_layers"]) == (16, 1, [0, 1, 2, 3])
    assert text["use_qk_norm"]
    assert (text["rope_parameters"]["rope_type"], text["rope_parameters"]["factor"]) == ("llama3", 16.0)
    assert text["no_rope_layers"] == [1, 1, 1, 0]
    assert text["attention_chunk_size"] % 128 == 0
    assert text["max_position_embeddings"] >= 8192
    assert (text["attn_temperature_tuning"], text["floor_scale"], text["attn_scale"]) == (True, 8192, 0.1)


def test_maverick_has_128_experts_in_every_second_layer_and_no_norms(maverick: Path) -> None:
    text = read(maverick, "config.json")["text_config"]
    assert (text["num_local_experts"], text["num_experts_per_tok"], text["moe_layers"]) == (128, 1, [1, 3])
    assert not text["use_qk_norm"]
    assert text["rope_parameters"] == {"rope_type": "default", "rope_theta": 500000.0}
    weights = shapes(maverick)
    assert weights["language_model.model.layers.0.feed_forward.gate_proj.weight"] == (256, 128)
    assert weights["language_model.model.layers.1.feed_forward.experts.down_proj"][0] == 128


@pytest.mark.parametrize(("name", "parameters"), [(SCOUT, 56_100_000), (MAVERICK, 65_700_000)])
def test_weights_are_small_untied_and_in_bfloat16(root: Path, name: str, parameters: int) -> None:
    directory = small_models.ensure(name, root)
    weights = shapes(directory)
    total = sum(_product(shape) for shape in weights.values())
    assert total == pytest.approx(parameters, rel=0.01)
    assert (directory / "model.safetensors").stat().st_size == pytest.approx(2 * total, rel=0.001)
    assert weights["language_model.lm_head.weight"] == weights["language_model.model.embed_tokens.weight"] == (202048, 128)


def test_the_same_weights_come_out_every_time(scout: Path, tmp_path: Path) -> None:
    again = small_models.ensure(SCOUT, tmp_path)
    assert (again / "model.safetensors").read_bytes() == (scout / "model.safetensors").read_bytes()


def test_generation_defaults_are_the_instruct_models(scout: Path) -> None:
    defaults = read(scout, "generation_config.json")
    assert defaults["eos_token_id"] == [200001, 200007, 200008]
    assert (defaults["temperature"], defaults["top_p"], defaults["do_sample"]) == (0.6, 0.9, True)
    assert (defaults["bos_token_id"], defaults["pad_token_id"]) == (200000, 200018)


def test_smollm2_is_whole(root: Path) -> None:
    from transformers import AutoTokenizer

    directory = small_models.ensure("smollm2-135m-instruct", root)
    assert sum(_product(shape) for shape in shapes(directory).values()) == 134_515_008
    tokenizer = AutoTokenizer.from_pretrained(directory)
    rendered = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True)
    assert rendered.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    # Digits apart, spaces before them together: transformers alone would tear the spaces apart.
    assert tokenizer.tokenize("is  42") == ["is", "ĠĠ", "4", "2"]


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for extent in shape:
        total *= extent
    return total
