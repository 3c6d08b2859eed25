"""vLLM's own app as a replica serves it, without an engine, for the tests here to ask: the import takes ten seconds.

`python -m tests.alone.vllm_frontend NAME`, with a list of arguments on standard input; they and the answer (the last line) are JSON.
"""

import asyncio
import json
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

LONGEST_S = 300


def _app() -> Any:
    """vLLM's app with the refusals of the herd's, whose every endpoint has no engine behind it."""
    from vllm.entrypoints.launchers.app import build_app

    args = Namespace(
        disable_fastapi_docs=True,
        enable_offline_docs=False,
        root_path="",
        log_error_stack=False,
        api_key=None,
        allowed_origins=["*"],
        allow_credentials=False,
        allowed_methods=["*"],
        allowed_headers=["*"],
        enable_request_id_headers=False,
        middleware=[],
        enable_server_load_tracking=False,
    )
    app = build_app(args, supported_tasks=("generate",))
    names = ("openai_serving_chat", "openai_serving_completion", "openai_serving_responses", "anthropic_serving_messages")
    for name in (*names, "serving_tokenization"):
        setattr(app.state, name, None)
    app.state.server, app.state.engine_client = SimpleNamespace(), SimpleNamespace(errored=False, is_running=True)
    return app


def _asked(app: Any, requests: list[tuple[str, Any]]) -> list[dict[str, Any]]:
    import httpx

    async def asked() -> list[dict[str, Any]]:
        answers = []
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://engine", timeout=LONGEST_S) as client:
            for path, body in requests:
                answer = await client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
                answers.append({"status": answer.status_code, "text": answer.text[:10_000]})
        return answers

    return asyncio.run(asked())


def refused(requests: list[tuple[str, Any]]) -> list[dict[str, Any]]:
    """How the app answers requests that do not come as far as an engine, and how many `errors` pydantic built for each."""
    from deployments.engine.vllm import refusals as vllm_refusals
    from deployments.policy.errors.validation import summary

    built: list[int] = []

    def counting(errors: Any) -> tuple[str, str | None]:
        built.append(len(errors))
        return summary(errors)

    vars(vllm_refusals)["summary"] = counting
    answers = []
    app = vllm_refusals.in_short(_app())
    for request in requests:
        built.clear()
        answers += [{**answer, "errors": sum(built)} for answer in _asked(app, [request])]
    return answers


def raised() -> dict[str, Any]:
    """How the app answers for each kind of exception that its frontend may raise, whole and inside a stream of responses."""
    from fastapi.responses import StreamingResponse
    from PIL.Image import DecompressionBombError
    from vllm.exceptions import GenerationError, QueueOverflowError, VLLMNotFoundError, VLLMValidationError
    from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

    from deployments.engine.vllm.refusals import in_short

    def caused(error: Exception, cause: Exception) -> Exception:
        error.__cause__ = cause
        return error

    errors: dict[str, Exception] = {
        "bomb": DecompressionBombError("Image size (400000000 pixels) exceeds limit"),
        "not implemented": NotImplementedError("Only base64 data URLs are supported for now."),
        "endpoint": NotImplementedError("The model does not support Responses API"),
        "value": ValueError("top_p is wrong <PIL.Image at 0x7fb1>"),
        "huge": ValueError("/a" * (10 << 20)),
        "validation": VLLMValidationError("seed is wrong", parameter="seed", value=2**70),
        "not found": VLLMNotFoundError("no such adapter"),
        "key": KeyError("secret"),
        "attribute": AttributeError("'str' object has no attribute 'x'"),
        "shape": RuntimeError("The size of tensor a (2305) must match the size of tensor b (577)"),
        "truncated": OSError("image file is truncated (3 bytes not processed)"),
        "disk": OSError(28, "No space left on device"),
        "memory": MemoryError("no memory"),
        "cuda": RuntimeError("CUDA out of memory"),
        "timeout": TimeoutError("too late"),
        "connection": ConnectionResetError("reset"),
        "busy": QueueOverflowError(),
        "dead": EngineDeadError(),
        "core": GenerationError(),
        "generate": EngineGenerateError(),
        "generate of the request": caused(EngineGenerateError(), NotImplementedError("no such form")),
    }
    app = _app()

    def failing(error: Exception) -> Callable[[], Any]:
        async def fail() -> None:
            raise error

        return fail

    for name, error in errors.items():
        app.add_api_route(f"/fail/{name}", failing(error), methods=["POST"])
    current: list[Exception] = []

    async def pieces() -> Any:
        yield b"event: response.created\ndata: {}\n\n"
        raise current[0]

    async def stream() -> StreamingResponse:
        return StreamingResponse(pieces(), media_type="text/event-stream")

    app.router.routes = [route for route in app.router.routes if getattr(route, "path", "") != "/v1/responses"]
    app.add_api_route("/v1/responses", stream, methods=["POST"])
    served = in_short(app)
    streamed = {}
    for name, error in errors.items():
        current[:] = [error]
        streamed[name] = _asked(served, [("/v1/responses", {})])[0]["text"]
    whole = dict(zip(errors, _asked(served, [(f"/fail/{name}", {}) for name in errors]), strict=True))
    return {"whole": whole, "streamed": streamed}


def grammars(cases: dict[str, dict[str, Any]], tokenizer: str) -> dict[str, str]:
    """What vLLM's serving side says of structured outputs with the herd's backend; of those it accepts, whether the core can build them."""
    import xgrammar
    from transformers import AutoTokenizer
    from vllm.config import StructuredOutputsConfig
    from vllm.exceptions import VLLMError
    from vllm.sampling_params import SamplingParams, StructuredOutputsParams

    from deployments.engine.vllm.grammar import mend
    from deployments.lifecycle.engine_arguments import GRAMMARS

    mend()
    loaded = AutoTokenizer.from_pretrained(tokenizer)
    compiler = xgrammar.GrammarCompiler(xgrammar.TokenizerInfo([bytes([byte]) for byte in range(256)]), max_threads=1)
    model, config = SimpleNamespace(skip_tokenizer_init=False, is_diffusion=False), StructuredOutputsConfig(**GRAMMARS)

    def said(case: dict[str, Any]) -> str:
        params = SamplingParams(structured_outputs=StructuredOutputsParams(**case))
        try:
            params._validate_structured_outputs(model, config, loaded)
        except (VLLMError, ValueError) as error:
            return f"{type(error).__name__}: {error}"
        if "json" in case:
            compiler.compile_json_schema(json.dumps(case["json"]))
        elif "regex" in case:
            compiler.compile_regex(case["regex"])
        return "accepted"

    return {name: said(case) for name, case in cases.items()}


def sources(texts: list[str]) -> list[bool]:
    """Whether each of these texts stands in vLLM's sources."""
    import vllm

    root = Path(vllm.__file__).parent
    folders = ("entrypoints", "renderers", "v1/engine", "multimodal", "inputs")
    files = [path for folder in folders for path in (root / folder).rglob("*.py")]
    files += [root / "sampling_params.py", root / "exceptions.py"]
    everything = "\n".join(path.read_text(encoding="utf-8") for path in files)
    return [text in everything for text in texts]


def importers() -> dict[str, list[str]]:
    """The modules of vLLM that hold the two functions that are replaced by name, of those that the herd's endpoints use."""
    import vllm

    root = Path(vllm.__file__).parent
    found: dict[str, list[str]] = {"create_error_response": [], "sanitize_message": []}
    for path in sorted((root / "entrypoints").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        module = "vllm." + ".".join(path.relative_to(root).with_suffix("").parts)
        for name, modules in found.items():
            lines = text.splitlines()
            imported = any("import" in line and name in line for line in lines) or any(line.strip() == f"{name}," for line in lines)
            if imported and not any(other in module for other in ("cohere", "speech", "sagemaker", "run_batch", "scale_out", "pooling")):
                modules.append(module.removesuffix(".__init__"))
    return found


def ask(what: str, *arguments: Any) -> Any:
    """An answer of one of these functions, in a process of its own."""
    command, root = [sys.executable, "-m", "tests.alone.vllm_frontend", what], Path(__file__).parents[2]
    asked = json.dumps(arguments)  # more than a command line takes
    ran = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, check=False, cwd=root, input=asked)
    assert ran.returncode == 0, ran.stderr[-4000:]
    return json.loads(ran.stdout.splitlines()[-1])


if __name__ == "__main__":
    answered = globals()[sys.argv[1]](*json.load(sys.stdin))
    print(f"\n{json.dumps(answered)}")
