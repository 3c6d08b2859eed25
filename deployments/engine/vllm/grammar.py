"""A vLLM plugin for the engine core: a grammar (JSON schema, a tool that must be called) goes on behind tokens delivered before.

Decides which notes in a JSON schema are no reason to refuse it. The other half, which makes the serving side go on, is
`deployments.engine.vllm.resume`; this one stands alone because vLLM loads plugins into every process, also those that serve nothing and
should start fast.
"""

from collections.abc import Callable
from typing import Any

from deployments.policy.request.resume import TOKENS

Compile = Callable[[Any, Any], Any]


class GrammarRejects(Exception):
    """The grammar does not accept what was delivered under it."""


def mend() -> None:
    """vLLM calls this in each of its processes before it builds an engine."""
    from vllm.v1.structured_output import StructuredOutputManager, backend_xgrammar

    unsupported = backend_xgrammar.has_xgrammar_unsupported_json_features
    backend_xgrammar.has_xgrammar_unsupported_json_features = lambda schema: unsupported(without_formats(schema))
    StructuredOutputManager._create_grammar = advancing(StructuredOutputManager._create_grammar)  # noqa: SLF001 (where it is compiled)


def settle(llm_config: Any) -> None:  # noqa: ANN401 (ray.serve.llm.LLMConfig)
    """Gives vLLM the backend for grammars as an object of its own: where a reasoning parser is named too, it takes no mapping."""
    from vllm.config import StructuredOutputsConfig

    named = llm_config.engine_kwargs["structured_outputs_config"]
    llm_config.update_engine_kwargs(structured_outputs_config=StructuredOutputsConfig(**named))


def without_formats(schema: Any) -> Any:  # noqa: ANN401 (JSON)
    """A JSON schema as it is checked for what xgrammar cannot do: `format` counts as a note, as JSON Schema has it by default.

    xgrammar enforces the formats that it knows, and then no length of the same string. vLLM would refuse the other formats, and any length
    beside a format, which pydantic's schema of every URL has.
    """
    if isinstance(schema, list):
        return [without_formats(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    is_noted = schema.get("type") == "string" and isinstance(schema.get("format"), str) and "pattern" not in schema
    left_out = ("format", "minLength", "maxLength") if is_noted else ()
    return {name: without_formats(value) for name, value in schema.items() if name not in left_out}


def advancing(compiled: Compile) -> Compile:
    """Compiles a request's grammar as before, and lets it read what was delivered."""

    def create_grammar(manager: Any, request: Any) -> Any:  # noqa: ANN401 (vLLM's own)
        grammar = compiled(manager, request)
        tokens = (request.sampling_params.extra_args or {}).get(TOKENS)
        if tokens is not None and not grammar.accept_tokens(request.request_id, list(tokens)):
            raise GrammarRejects
        return grammar

    return create_grammar
