"""Every field that vLLM 0.29 reads from a request, sorted for each endpoint: how it is bounded, or why it is refused.

Data only. `tests/alone/test_fields.py` reads the fields from vLLM's own request classes, and fails when one of them has no row here, and
when a row here has no field there.
"""

from collections.abc import Mapping
from types import MappingProxyType

from deployments.policy.body.bounds import (
    Biases,
    Flag,
    Keys,
    Members,
    Number,
    Own,
    Plain,
    Refused,
    Rule,
    Small,
    Text,
    Texts,
    Xargs,
)
from deployments.policy.body.grammars import Grammar
from deployments.policy.body.shape import Blocks, Items, Messages, Objects, Prompts, ToolChoice, Tools
from deployments.policy.body.token_ids import Ids

PLAIN = Plain()
_FLAG = Flag()
_GRAMMAR = Grammar()
#: A text whose length the model's context bounds.
_TEXT = Text()
#: Names that clients make up for people and conversations. vLLM does not look at them, and repeats them in each event of `/v1/responses`.
_NAME = Text(4096)

_PRIORITY = Own("say 'interactive' or 'batch' in the header x-priority instead.", default=0)
_LEAVE_OUT = Own("leave it out.")
_TEMPLATE = Refused("is not taken: the model's own template is used. Leave it out.")
_PROCESSOR = Refused("is not taken: images are prepared as the model was trained. Leave it out.")

#: Parameters of transformers' `apply_chat_template` that a request must not set, and the fields that are refused above them.
TEMPLATE_ARGUMENTS_REFUSED = frozenset(
    """
    chat_template conversation messages tools tokenize padding truncation max_length return_tensors return_dict
    return_assistant_tokens_mask tokenizer_kwargs processor_kwargs sanitize_control_tokens mm_processor_kwargs media_io_kwargs
    """.split()  # noqa: SIM905
)

_CLUSTER: Mapping[str, Rule] = {
    "cache_salt": Own("which requests share a prefix cache is decided by the operator. Leave it out."),
    "kv_transfer_params": _LEAVE_OUT,
    "ec_transfer_params": _LEAVE_OUT,
    "vllm_xargs": Xargs(),
}
_IDENTITY: Mapping[str, Rule] = {
    "model": Text(),  # `Catalog.choose` has found it
    "user": _NAME,
    "request_id": Refused("is not taken: send the header x-request-id instead."),
    "session_id": Text(256),
    "priority": _PRIORITY,
}
_TEMPLATES: Mapping[str, Rule] = {
    "chat_template": _TEMPLATE,
    "chat_template_kwargs": Keys(64, TEMPLATE_ARGUMENTS_REFUSED),
    "media_io_kwargs": _PROCESSOR,
    "mm_processor_kwargs": _PROCESSOR,
}
_RENDERING: Mapping[str, Rule] = {
    "add_generation_prompt": PLAIN,
    "continue_final_message": PLAIN,
    "add_special_tokens": PLAIN,
}

#: vLLM's newer runner (on GPUs) ends with an error in the engine's core beyond 1024 `allowed_token_ids`, beyond 128 stop tokens together
#: with the model's own, and beyond 1024 tokens of `bad_words`; a word is at most as many tokens as it has bytes, and is looked up twice.
_SAMPLING: Mapping[str, Rule] = {
    "frequency_penalty": PLAIN,
    "presence_penalty": PLAIN,
    "repetition_penalty": PLAIN,
    "length_penalty": PLAIN,
    "temperature": PLAIN,
    "top_p": PLAIN,
    "top_k": PLAIN,
    "min_p": PLAIN,
    "seed": PLAIN,
    "ignore_eos": PLAIN,
    "min_tokens": PLAIN,
    "skip_special_tokens": PLAIN,
    "spaces_between_special_tokens": PLAIN,
    "include_stop_str_in_output": PLAIN,
    "truncate_prompt_tokens": PLAIN,
    "truncation_side": PLAIN,
    "thinking_token_budget": PLAIN,
    "stop": Texts(4, 1024, 4096),
    "stop_token_ids": Ids(120),
    "allowed_token_ids": Ids(1024),
    "logprob_token_ids": Ids(128),
    "logit_bias": Biases(),
    "bad_words": Texts(64, 512, 512),
    "prompt_logprobs": Number(-1, "logprobs"),
    "n": Number(1, "choices", "Send several requests instead."),
    "use_beam_search": _FLAG,
    "max_tokens": PLAIN,
    "stream": _FLAG,
    "stream_options": Small(1),
    "stream_interval": Number(1, 1024),
    "response_format": _GRAMMAR,
    "structured_outputs": _GRAMMAR,
    "repetition_detection": Members({"max_pattern_size": Number(0, 256), "min_pattern_size": Number(0, 256), "min_count": Number(0, 1024)}),
    "echo": _FLAG,
    "return_tokens_as_token_ids": PLAIN,
    "return_token_ids": _FLAG,
    "return_token_offsets": PLAIN,
    "routed_experts_prompt_start": PLAIN,
}

_CHAT: Mapping[str, Rule] = {
    **_IDENTITY,
    **_CLUSTER,
    **_TEMPLATES,
    **_RENDERING,
    **_SAMPLING,
    "messages": Messages(),
    "tools": Tools(nested=True),
    "tool_choice": ToolChoice(),
    "documents": Objects(),
    "logprobs": _FLAG,
    "top_logprobs": Number(-1, "logprobs"),
    "max_completion_tokens": PLAIN,
    "reasoning_effort": PLAIN,
    "include_reasoning": _FLAG,
    "parallel_tool_calls": PLAIN,
    "return_prompt_text": PLAIN,
    "return_assistant_tokens_mask": PLAIN,
}
_COMPLETIONS: Mapping[str, Rule] = {
    **_IDENTITY,
    **_CLUSTER,
    **_SAMPLING,
    "prompt": Prompts("sequences"),
    "suffix": _TEXT,
    "logprobs": Number(-1, "logprobs"),
    "add_special_tokens": PLAIN,
    "prompt_embeds": Refused("is not taken: only text and token ids are. Send 'prompt'."),
}
_RESPONSES: Mapping[str, Rule] = {
    **_IDENTITY,
    **_CLUSTER,
    **{name: _TEMPLATES[name] for name in ("chat_template_kwargs", "media_io_kwargs", "mm_processor_kwargs")},
    **{
        name: _SAMPLING[name]
        for name in (
            "frequency_penalty",
            "presence_penalty",
            "repetition_penalty",
            "temperature",
            "top_p",
            "top_k",
            "seed",
            "ignore_eos",
            "skip_special_tokens",
            "include_stop_str_in_output",
            "stop",
            "logit_bias",
            "stream",
            "structured_outputs",
        )
    },
    "input": Items(),
    "instructions": _TEXT,
    "tools": Tools(),
    "tool_choice": ToolChoice(),
    "background": _FLAG,
    "include": Small(1),
    "max_output_tokens": PLAIN,
    "max_tool_calls": PLAIN,
    "metadata": Small(64),
    "parallel_tool_calls": PLAIN,
    "previous_response_id": PLAIN,
    "prompt": Refused("is not taken: prompt templates are not served. Send 'input' and 'instructions'."),
    "reasoning": Small(4),
    "include_reasoning": _FLAG,
    "service_tier": PLAIN,
    "store": PLAIN,
    "text": _GRAMMAR,
    "top_logprobs": Number(-1, "logprobs"),
    "truncation": PLAIN,
    "prompt_cache_key": _NAME,
    "enable_response_messages": PLAIN,
    "previous_input_messages": Refused("is not taken: send earlier messages in 'input'."),
}
_COUNT_TOKENS: Mapping[str, Rule] = {
    "model": _IDENTITY["model"],
    "messages": Messages(),
    "system": Blocks(),
    "tools": Tools(),
    "tool_choice": ToolChoice(),
    "chat_template_kwargs": _TEMPLATES["chat_template_kwargs"],
}
_MESSAGES: Mapping[str, Rule] = {
    **_COUNT_TOKENS,
    **_CLUSTER,
    "max_tokens": PLAIN,
    "metadata": Small(64),
    "output_config": _GRAMMAR,
    "stop_sequences": _SAMPLING["stop"],
    "stream": _FLAG,
    "temperature": PLAIN,
    "top_k": PLAIN,
    "top_p": PLAIN,
}
_EMBEDDINGS: Mapping[str, Rule] = {
    **{name: rule for name, rule in _IDENTITY.items() if name != "session_id"},
    **_TEMPLATES,
    **_RENDERING,
    "cache_salt": _CLUSTER["cache_salt"],
    "input": Prompts("inputs", messages=True),
    "messages": Prompts("inputs", messages=True),
    "truncate_prompt_tokens": PLAIN,
    "truncation_side": PLAIN,
    "padding": Refused("is not taken: leave it out."),
    "encoding_format": PLAIN,
    "embed_dtype": PLAIN,
    "endianness": PLAIN,
    "dimensions": PLAIN,
    "use_activation": PLAIN,
}
_TOKENIZE: Mapping[str, Rule] = {
    **_TEMPLATES,
    **_RENDERING,
    "model": _IDENTITY["model"],
    "prompt": _TEXT,
    "messages": Messages(),
    "tools": Tools(nested=True),
    "return_token_strs": PLAIN,
}
_DETOKENIZE: Mapping[str, Rule] = {"model": _IDENTITY["model"], "tokens": Ids()}

#: The rows of each endpoint, by the endpoint's short name.
FIELDS: Mapping[str, Mapping[str, Rule]] = MappingProxyType(
    {
        "chat": MappingProxyType(_CHAT),
        "completions": MappingProxyType(_COMPLETIONS),
        "responses": MappingProxyType(_RESPONSES),
        "messages": MappingProxyType(_MESSAGES),
        "count_tokens": MappingProxyType(_COUNT_TOKENS),
        "embeddings": MappingProxyType(_EMBEDDINGS),
        "tokenize": MappingProxyType(_TOKENIZE),
        "detokenize": MappingProxyType(_DETOKENIZE),
    }
)

#: Fields of older vLLM versions, which this one would ignore in silence, and what to send instead.
_STRUCTURED = "of older vLLM versions is not taken any more: send 'structured_outputs' instead, as in {{\"structured_outputs\": {{{}}}}}."
RENAMED: Mapping[str, Rule] = MappingProxyType(
    {
        "guided_json": Refused(_STRUCTURED.format('"json": …')),
        "guided_regex": Refused(_STRUCTURED.format('"regex": …')),
        "guided_choice": Refused(_STRUCTURED.format('"choice": …')),
        "guided_grammar": Refused(_STRUCTURED.format('"grammar": …')),
        "guided_whitespace_pattern": Refused(_STRUCTURED.format('"whitespace_pattern": …')),
        "guided_decoding_backend": Refused("of older vLLM versions is not taken any more: leave it out."),
        "logits_processors": Refused("is not taken: no code of a request's choice is run. Leave it out."),
    }
)

#: What the cluster keeps for itself and what no engine may be asked for: refused at every endpoint, also where the API lacks the field.
EVERYWHERE: Mapping[str, Rule] = MappingProxyType(
    {
        **RENAMED,
        **dict.fromkeys(("mm_processor_kwargs", "media_io_kwargs"), _PROCESSOR),
        **{name: _CLUSTER[name] for name in _CLUSTER},
        "priority": _PRIORITY,
        "chat_template": _TEMPLATE,
        "best_of": Number(1, "choices", "Send several requests instead."),
        "n": _SAMPLING["n"],
        "use_beam_search": _FLAG,
    }
)

#: What a request must have, one of these.
NEEDED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "chat": ("messages",),
        "completions": ("prompt",),
        "responses": ("input",),
        "messages": ("messages",),
        "count_tokens": ("messages",),
        "embeddings": ("input", "messages"),
        "tokenize": ("prompt", "messages"),
        "detokenize": ("tokens",),
    }
)
