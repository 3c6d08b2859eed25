"""All cases, and which of them are few and quick enough for every run of the tests."""

import re

from tests.hostile import blame, fields, habits, pictures, sizes
from tests.hostile.case import Case

ALL: tuple[Case, ...] = (*habits.CASES, *fields.CASES, *sizes.CASES, *pictures.CASES, *blame.CASES)

#: Of each kind some; what is large or takes an engine's compiler long is for the whole run.
_QUICK = re.compile(
    r"count_tokens.*|alias-listed|accel-buffering|preflight-chat-.*|cross-site-(chat|/-/status)|rebound-/-/status|content-type-form-0-chat|host-(0|none|localhost)"
    r"|encoding-(gzip|deflate|zstd|br|gzip-bomb-1-gib|gzip-broken)|path-[0-4]|path-models-slash|path-hidden-[0-5]-POST"
    r"|mm_processor_kwargs-(0|escaped|twice|auto-stream).*|(kv|ec)_transfer_params-0-.*|vllm_xargs-0-.*|media_io_kwargs-0-chat|chat_template-0-chat"
    r"|(n|logit_bias|stop_token_ids)-0-.*|priority-0-.*|beams-1000|prompt-token-0-.*|model-[0-2]-chat|model-long-chat|detokenize-[0-1]-.*"
    r"|(messages|input)-(objects|lists)-(1000|36000)-.*|tools-empty-9000-chat|echo-temperature-chat|input_image-no-detail|input-long-wrong"
    r"|unknown-(lists|objects)-(8-mib|model-last)|deep-lists-messages|tokenize-words|long-(chat|count_tokens)|detokenize-long|too-long|json-[0-5]"
    r"|image-bomb-.*|image-13300x13300|image-header-(jpeg|webp-lossless)|image-frames-gif|image-format-(eps|fits|tga)-chat-png|image-served-.*"
    r"|image-url-(parameter|upper|lines|no-base64-chat|empty-chat|file-chat|http-chat)|image-media-type-comma|null-image_url-.*|image-for-text-model"
    r"|schema-(tuple|unicode-pattern|min-properties)-.*|regex-bad-.*|grammar-against-tokens.*|max_tokens-million|tools-without-parser|messages-null"
    r"|embeddings-of-a-generator|null-options|unknown-fields|plain-.*|stream-.*|image-uuid|unknown-chat"
)
QUICK: tuple[Case, ...] = tuple(case for case in ALL if _QUICK.fullmatch(case.name))
