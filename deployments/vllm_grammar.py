"""A vLLM plugin for the engine core: a grammar (JSON schema, a tool that must be called) goes on behind tokens delivered before.

Decides nothing. The other half, which makes the serving side go on, is `deployments.vllm_resume`; this one stands alone because vLLM loads
plugins into every process, also those that serve nothing and should start fast.
"""

from collections.abc import Callable
from typing import Any

from deployments.policy.resume import TOKENS

Compile = Callable[[Any, Any], Any]


class GrammarRejects(Exception):
    """The grammar does not accept what was delivered under it."""


def mend() -> None:
    """vLLM calls this in each of its processes before it builds an engine."""
    from vllm.v1.structured_output import StructuredOutputManager

    StructuredOutputManager._create_grammar = advancing(StructuredOutputManager._create_grammar)  # noqa: SLF001 (where it is compiled)


def advancing(compiled: Compile) -> Compile:
    """Compiles a request's grammar as before, and lets it read what was delivered."""

    def create_grammar(manager: Any, request: Any) -> Any:  # noqa: ANN401 (vLLM's own)
        grammar = compiled(manager, request)
        tokens = (request.sampling_params.extra_args or {}).get(TOKENS)
        if tokens is not None and not grammar.accept_tokens(request.request_id, list(tokens)):
            raise GrammarRejects
        return grammar

    return create_grammar
