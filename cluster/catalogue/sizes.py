"""The sizes of every model of the catalogue.

Sources: `configuration_llama4.py` in transformers for Scout, TensorRT-LLM's Llama 4 test config for Maverick, transformers' converter for
the longest contexts, llama-models' `sku_list.py` for Llama 3, `deployments.small_models` for the tiny ones.
"""

from cluster.catalogue.architecture import Architecture, Encoder, VisionTower, every


def _llama_4(experts: int, moe_interval: int, max_positions: int) -> Architecture:
    return Architecture(
        layers=48,
        hidden=5120,
        heads=40,
        kv_heads=8,
        head_dim=128,
        vocab=202_048,
        intermediate=16_384,
        max_positions=max_positions,
        experts=experts,
        expert_intermediate=8192,
        moe_layers=every(48, moe_interval),
        chunk_tokens=8192,
        global_layers=every(48, 4),
        vision=VisionTower(),
    )


def _tiny(experts: int, moe_interval: int) -> Architecture:
    """The sizes of `deployments.small_models.llama4`."""
    return Architecture(
        layers=4,
        hidden=128,
        heads=8,
        kv_heads=4,
        head_dim=32,
        vocab=202_048,
        intermediate=256,
        max_positions=131_072,
        experts=experts,
        expert_intermediate=128,
        moe_layers=every(4, moe_interval),
        chunk_tokens=256,
        global_layers=(3,),
        vision=VisionTower(layers=2, hidden=128, heads=8, intermediate=512, projector=128),
    )


#: A pruned Scout: the shared expert is its MLP, no layer is chunked (PurpleLlama's model card; context from transformers' converter). Its
#: positions are Scout's: a log of vLLM 0.20.1 has 16.48 GiB for 13.9 of w8a8 weights, which leaves a rope cache of 2.5.
GUARD_4 = Architecture(48, 5120, 40, 8, 128, 202_048, 8192, 10_485_760, vision=VisionTower(), context_limit=8192)
LLAMA_8B = Architecture(32, 4096, 32, 8, 128, 128_256, 14_336, 131_072)
LLAMA_70B = Architecture(80, 8192, 64, 8, 128, 128_256, 28_672, 131_072)
LLAMA_405B = Architecture(126, 16_384, 128, 8, 128, 128_256, 53_248, 131_072)
LLAMA_3_8B = Architecture(32, 4096, 32, 8, 128, 128_256, 14_336, 8192)
LLAMA_3_70B = Architecture(80, 8192, 64, 8, 128, 128_256, 28_672, 8192)
#: llama-models, `sku_list.py`: 3.2; embedding and head are one.
LLAMA_3_2_1B = Architecture(16, 2048, 32, 8, 64, 128_256, 8192, 131_072, tied_embeddings=True)
LLAMA_3_2_3B = Architecture(28, 3072, 24, 8, 128, 128_256, 8192, 131_072, tied_embeddings=True)
SMOLLM2 = Architecture(30, 576, 9, 3, 64, 49_152, 1536, 8192, tied_embeddings=True)

#: The base models are trained for 256K (transformers, `convert_llama4_weights_to_hf.py`).
BASE_CONTEXT = 262_144
SCOUT = _llama_4(experts=16, moe_interval=1, max_positions=10_485_760)
MAVERICK = _llama_4(experts=128, moe_interval=2, max_positions=1_048_576)
SCOUT_TINY = _tiny(experts=16, moe_interval=1)
MAVERICK_TINY = _tiny(experts=128, moe_interval=2)

#: mDeBERTa-v3-base and DeBERTa-v3-xsmall, 512 tokens (Prompt Guard 2's model card; sizes from the configs of those two).
PROMPT_GUARD_86M = Encoder(layers=12, hidden=768, intermediate=3072, vocab=251_000)
PROMPT_GUARD_22M = Encoder(layers=12, hidden=384, intermediate=1536, vocab=128_100)
