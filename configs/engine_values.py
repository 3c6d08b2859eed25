"""The values that vLLM's engine arguments take, as data: kinds, least and greatest, words.

Source: the annotations of vLLM 0.29.0's `AsyncEngineArgs` and `FrontendArgs`, and the bounds of its config classes; a test holds the kinds
and words against the installed vLLM. An argument of several kinds is in no list here, and vLLM itself judges it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any


def _names(text: str) -> Mapping[str, bool]:
    """Reads names; one that ends with ? may also be null."""
    return MappingProxyType({name.removesuffix("?"): name.endswith("?") for name in text.split()})


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


BOOLEANS = _names(
    """
    aggregate_engine_logging allow_deprecated_quantization cudagraph_metrics dcp_q_replicate? disable_cascade_attn
    disable_chunked_mm_input disable_custom_all_reduce disable_hybrid_kv_cache_manager? disable_log_stats
    disable_nccl_for_dp_synchronization? disable_sliding_window enable_auto_tool_choice enable_batch_sharded_sampling?
    enable_bf16x3_router_gemm? enable_chunked_prefill? enable_cumem_allocator enable_dbo enable_elastic_ep enable_ep_weight_filter
    enable_fault_tolerance enable_flash_late_interaction enable_flashinfer_autotune enable_force_include_usage
    enable_layerwise_nvtx_tracing enable_logging_iteration_details enable_lora enable_mamba_cache_stochastic_rounding
    enable_mfu_metrics enable_mixed_moe_lora_format enable_mm_embeds enable_mm_processor_stats enable_moe_shared_loras
    enable_per_request_metrics enable_prefix_caching? enable_prompt_embeds enable_prompt_tokens_details enable_return_routed_experts
    enable_sleep_mode enable_tower_connector_lora enable_trace_replay enforce_eager exclude_tools_when_tool_choice_none
    fail_on_environ_validation fully_sharded_loras interleave_mm_strings jit_monitor_verbose kv_cache_metrics kv_sharing_fast_prefill
    language_model_only log_error_stack mm_device_do_normalize? mm_encoder_only numa_bind ray_workers_use_nsight return_sampling_mask
    return_tokens_as_token_ids scheduler_reserve_full_isl skip_mm_profiling skip_tokenizer_init specialize_active_lora use_fp64_gumbel
    use_replayssm use_tqdm_on_load
    """
)
WHOLE = _names(
    """
    block_size? cp_kv_cache_interleave_size cpu_distributed_timeout_seconds? dbo_decode_token_threshold dbo_prefill_token_threshold
    dcp_kv_cache_interleave_size decode_context_parallel_size distributed_timeout_seconds? kv_cache_memory_bytes?
    long_prefill_token_threshold mamba_block_size? mamba_cache_philox_rounds max_cpu_loras? max_cudagraph_capture_size? max_logprobs
    max_loras max_num_batched_tokens? max_num_queued_reqs? max_num_queued_tokens? max_num_scheduled_tokens? max_num_seqs?
    max_parallel_loading_workers? mm_shm_cache_max_object_size_mb num_gpu_blocks_override? offload_group_size offload_num_in_group
    offload_prefetch_step prefill_context_parallel_size prefill_schedule_interval prefix_cache_retention_interval? prefix_match_unit?
    renderer_num_workers replayssm_buffer_len safetensors_prefetch_block_size safetensors_prefetch_num_threads seed shutdown_timeout
    spec_tokens? stream_interval ubatch_size
    """
)
NUMBERS = _names(
    """
    cpu_offload_gb gpu_memory_utilization kv_cache_metrics_sample kv_offloading_size? mm_encoder_fp8_scale_save_margin
    mm_ipc_gpu_memory_gb mm_processor_cache_gb video_pruning_rate? watermark
    """
)
TEXTS = _names(
    """
    chat_template? code_revision? config_format download_dir? fingerprint_value? generation_config hf_config_path?
    io_processor_plugin? load_format mm_encoder_attn_dtype? mm_encoder_fp8_scale_path? mm_encoder_fp8_scale_save_path?
    mm_processor_device model_impl model_weights offload_backend otlp_traces_endpoint? quantization? reasoning_parser
    reasoning_parser_plugin? response_role revision? show_hidden_metrics_for_version? spec_method? spec_model? tokenizer?
    tokenizer_revision? tool_call_parser? tool_parser_plugin tool_server? video_pruning_method worker_cls worker_extension_cls
    """
)
MAPPINGS = _names(
    """
    additional_config attention_config compilation_config default_chat_template_kwargs? diffusion_config? ec_manager_config
    ec_transfer_config? eplb_config fault_tolerance_config hf_overrides ir_op_priority kernel_config kv_events_config?
    kv_transfer_config? mamba_config media_io_kwargs mm_processor_kwargs? model_loader_extra_config pooler_config? profiler_config
    quantization_config? reasoning_config speculative_config? structured_outputs_config weight_transfer_config?
    """
)
LISTS = _names(
    """
    collect_detailed_traces? cudagraph_capture_sizes? kv_cache_dtype_skip_layers logits_processors? lora_target_modules?
    numa_bind_cpus? numa_bind_nodes?
    """
)
#: By argument, the words that it takes.
CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "chat_template_content_format": _words("auto string openai"),
        "convert": _words("auto none embed classify"),
        "data_parallel_backend": _words("ray mp"),
        "dcp_comm_backend": _words("ag_rs a2a"),
        "dtype": _words("auto half float16 bfloat16 float float32"),
        "expert_placement_strategy": _words("linear round_robin"),
        "fingerprint_mode": _words("full hash custom none"),
        "gdn_prefill_backend": _words("flashinfer triton cutedsl"),
        "jit_monitor_mode": _words("warn error"),
        "kda_prefill_backend": _words("auto triton flashkda"),
        "kv_cache_dtype": _words(
            "auto float16 bfloat16 fp8 fp8_e4m3 fp8_e5m2 fp8_inc fp8_ds_mla turboquant_k8v4 turboquant_4bit_nc "
            "turboquant_k3v4_nc turboquant_3bit_nc int4_per_token_head int8_per_token_head fp8_per_token_head nvfp4 "
            "nvfp4_4over6"
        ),
        "kv_offloading_backend": _words("native lmcache"),
        "linear_backend": _words(
            "auto cutlass flashinfer_cutlass flashinfer_cutedsl flashinfer_trtllm flashinfer_cudnn flashinfer_b12x b12x "
            "marlin humming triton deep_gemm torch aiter machete fbgemm conch exllama emulation xpu xpu_woq"
        ),
        "logprobs_mode": _words("raw_logits raw_logprobs processed_logits processed_logprobs"),
        "mamba_cache_dtype": _words("auto float32 float16 bfloat16"),
        "mamba_cache_mode": _words("all align none"),
        "mamba_ssm_cache_dtype": _words("auto float32 float16 bfloat16"),
        "mamba_ssu_algorithm": _words("auto simple vertical horizontal"),
        "mm_encoder_tp_mode": _words("weights data"),
        "mm_hasher_algorithm": _words("blake3 sha256 sha512"),
        "mm_processor_cache_type": _words("shm lru"),
        "mm_tensor_ipc": _words("direct_rpc torch_shm"),
        "moe_backend": _words(
            "auto triton batched_triton deep_gemm deep_gemm_mega_moe cutlass flashinfer_trtllm flashinfer_cutlass "
            "flashinfer_cutedsl flashinfer_b12x b12x flashinfer_moe_ep_mega_deep_gemm flashinfer_moe_ep_mega_cutedsl marlin "
            "humming triton_unfused aiter flydsl hpc emulation"
        ),
        "per_request_spec_decode_metrics": _words("none summary detailed"),
        "performance_mode": _words("balanced interactivity throughput"),
        "prefix_caching_hash_algo": _words("sha256 sha256_cbor xxhash xxhash_cbor"),
        "runner": _words("auto generate pooling draft"),
        "safetensors_load_strategy": _words("lazy eager prefetch torchao"),
        "scheduling_policy": _words("fcfs priority"),
    }
)
NULLABLE_CHOICES = _names(
    """
    dcp_comm_backend gdn_prefill_backend kda_prefill_backend mamba_ssu_algorithm mm_processor_cache_type safetensors_load_strategy
    """
)
#: Numbers that vLLM refuses below; all others may be anything.
LEAST: Mapping[str, float] = MappingProxyType(
    {
        "block_size": 1, "cpu_offload_gb": 0, "decode_context_parallel_size": 1, "kv_cache_memory_bytes": 1, "kv_offloading_size": 0,
        "long_prefill_token_threshold": 0, "max_cpu_loras": 1, "max_cudagraph_capture_size": 0, "max_logprobs": -1, "max_loras": 1,
        "max_num_batched_tokens": 1, "max_num_queued_reqs": 0, "max_num_queued_tokens": 0, "max_num_scheduled_tokens": 0, "max_num_seqs": 1,
        "max_parallel_loading_workers": 1, "mm_processor_cache_gb": 0, "num_gpu_blocks_override": 1, "prefill_context_parallel_size": 1,
        "prefill_schedule_interval": 1, "stream_interval": 1, "ubatch_size": 0, "watermark": 0,
    }
)  # fmt: skip
#: ... and above.
GREATEST: Mapping[str, float] = MappingProxyType({"gpu_memory_utilization": 1, "kv_cache_metrics_sample": 1, "watermark": 1})
_KINDS: tuple[tuple[Mapping[str, bool], tuple[type, ...], str], ...] = (
    (BOOLEANS, (bool,), "true or false"),
    (WHOLE, (int,), "a whole number"),
    (NUMBERS, (int, float), "a number"),
    (TEXTS, (str,), "text"),
    (MAPPINGS, (dict,), "a mapping"),
    (LISTS, (list,), "a list"),
)


def complaint(name: str, value: Any) -> str | None:  # noqa: ANN401 (whatever the YAML says)
    """Returns a sentence about a value that an argument of vLLM's cannot have; None where it may, or where vLLM "
    "itself must judge."""
    if name in CHOICES:
        fits = value in CHOICES[name] if isinstance(value, str) else value is None and name in NULLABLE_CHOICES
        return None if fits else f"{name!r} must be one of {', '.join(CHOICES[name])} (got {value!r})"
    for names, types, what in _KINDS:
        if name in names and not _is(value, types, names[name]):
            return f"{name!r} must be {what} (got {value!r})"
    return _beyond(name, value)


def _is(value: object, types: tuple[type, ...], may_be_null: bool) -> bool:
    if isinstance(value, bool):  # in Python a kind of whole number
        return bool in types
    return isinstance(value, types) or (value is None and may_be_null)


def _beyond(name: str, value: Any) -> str | None:  # noqa: ANN401 (as above)
    if value is None or not (name in WHOLE or name in NUMBERS):
        return None
    if name == "gpu_memory_utilization" and value <= 0:
        return f"{name!r} must be above 0 (got {value!r})"
    if value < LEAST.get(name, value):
        return f"{name!r} must not be below {LEAST[name]:g} (got {value!r})"
    if value > GREATEST.get(name, value):
        return f"{name!r} must not be above {GREATEST[name]:g} (got {value!r})"
    return None
