"""The names of vLLM's engine arguments, as data, so that a config is checked without importing vLLM (ten seconds).

Source: the fields of vLLM 0.29.0's `AsyncEngineArgs` and `FrontendArgs`; a test holds this list against the installed vLLM.
"""

import json
from collections.abc import Iterator
from typing import Any

from configs.engine_values import complaint
from configs.problems import hint

ENGINE_ARGUMENTS = frozenset(
    """
    additional_config aggregate_engine_logging all2all_backend allow_credentials allow_deprecated_quantization allowed_headers
    allowed_local_media_path allowed_media_domains allowed_methods allowed_origins api_key async_scheduling attention_backend
    attention_config block_size chat_template chat_template_content_format code_revision cohere_format cohere_is_reasoning_model
    collect_detailed_traces compilation_config config_format convert cp_kv_cache_interleave_size cpu_distributed_timeout_seconds
    cpu_offload_gb cpu_offload_params cudagraph_capture_sizes cudagraph_metrics data_parallel_address data_parallel_backend
    data_parallel_external_lb data_parallel_hybrid_lb data_parallel_multi_port_external_lb data_parallel_rank data_parallel_rpc_port
    data_parallel_size data_parallel_size_local data_parallel_start_rank data_parallel_supervisor_port dbo_decode_token_threshold
    dbo_prefill_token_threshold dcp_comm_backend dcp_kv_cache_interleave_size dcp_q_replicate decode_context_parallel_size
    default_chat_template_kwargs default_mm_loras device_ids diffusion_config disable_access_log_for_endpoints disable_cascade_attn
    disable_chunked_mm_input disable_custom_all_reduce disable_fastapi_docs disable_hybrid_kv_cache_manager disable_log_stats
    disable_nccl_for_dp_synchronization disable_sliding_window disable_uvicorn_access_log distributed_executor_backend
    distributed_timeout_seconds download_dir dp_supervisor_probe_failure_threshold dp_supervisor_probe_interval_s
    dp_supervisor_probe_timeout_s dtype ec_manager_config ec_transfer_config enable_auto_tool_choice enable_batch_sharded_sampling
    enable_bf16x3_router_gemm enable_chunked_prefill enable_cumem_allocator enable_dbo enable_elastic_ep enable_ep_weight_filter
    enable_eplb enable_expert_parallel enable_fault_tolerance enable_flash_late_interaction enable_flashinfer_autotune
    enable_force_include_usage enable_layerwise_nvtx_tracing enable_log_deltas enable_log_outputs enable_log_requests
    enable_logging_iteration_details enable_lora enable_mamba_cache_stochastic_rounding enable_mfu_metrics
    enable_mixed_moe_lora_format enable_mm_embeds enable_mm_processor_stats enable_moe_shared_loras enable_offline_docs
    enable_per_request_metrics enable_prefix_caching enable_prompt_embeds enable_prompt_tokens_details enable_request_id_headers
    enable_return_routed_experts enable_server_load_tracking enable_sleep_mode enable_ssl_refresh enable_tokenizer_info_endpoint
    enable_tower_connector_lora enable_trace_replay enforce_eager eplb_config exclude_tools_when_tool_choice_none
    expert_placement_strategy fail_on_environ_validation fault_tolerance_config fingerprint_mode fingerprint_value
    fully_sharded_loras gdn_prefill_backend generation_config gpu_memory_utilization h11_max_header_count
    h11_max_incomplete_event_size hf_config_path hf_overrides hf_token host ignore_patterns interleave_mm_strings
    io_processor_plugin ir_op_priority jit_monitor_mode jit_monitor_verbose kda_prefill_backend kernel_config kv_cache_dtype
    kv_cache_dtype_skip_layers kv_cache_memory_bytes kv_cache_metrics kv_cache_metrics_sample kv_events_config kv_offloading_backend
    kv_offloading_size kv_sharing_fast_prefill kv_transfer_config language_model_only limit_mm_per_prompt linear_backend load_format
    log_config_file log_error_stack logits_processors logprobs_mode long_prefill_token_threshold lora_dtype lora_modules
    lora_target_modules mamba_backend mamba_block_size mamba_cache_dtype mamba_cache_mode mamba_cache_philox_rounds mamba_config
    mamba_ssm_cache_dtype mamba_ssu_algorithm master_addr master_port max_cpu_loras max_cudagraph_capture_size max_log_len
    max_logprobs max_lora_rank max_loras max_model_len max_num_batched_tokens max_num_queued_reqs max_num_queued_tokens
    max_num_scheduled_tokens max_num_seqs max_parallel_loading_workers media_io_kwargs middleware mm_device_do_normalize
    mm_encoder_attn_backend mm_encoder_attn_dtype mm_encoder_fp8_scale_path mm_encoder_fp8_scale_save_margin
    mm_encoder_fp8_scale_save_path mm_encoder_only mm_encoder_tp_mode mm_hasher_algorithm mm_ipc_gpu_memory_gb mm_processor_cache_gb
    mm_processor_cache_type mm_processor_device mm_processor_kwargs mm_shm_cache_max_object_size_mb mm_tensor_ipc model
    model_class_overrides model_impl model_loader_extra_config model_weights moe_backend nnodes node_rank num_gpu_blocks_override
    numa_bind numa_bind_cpus numa_bind_nodes offload_backend offload_group_size offload_num_in_group offload_params
    offload_prefetch_step optimization_level otlp_traces_endpoint override_generation_config per_request_spec_decode_metrics
    performance_mode pipeline_parallel_size pooler_config port prefill_context_parallel_size prefill_schedule_interval
    prefix_cache_retention_interval prefix_caching_hash_algo prefix_match_unit profiler_config pt_load_map_location quantization
    quantization_config ray_workers_use_nsight reasoning_config reasoning_parser reasoning_parser_plugin renderer_num_workers
    replayssm_buffer_len response_role return_sampling_mask return_tokens_as_token_ids revision root_path runner
    safetensors_load_strategy safetensors_prefetch_block_size safetensors_prefetch_num_threads scheduler_cls
    scheduler_reserve_full_isl scheduling_policy seed served_model_name show_hidden_metrics_for_version shutdown_timeout
    skip_mm_profiling skip_tokenizer_init spec_method spec_model spec_tokens specialize_active_lora speculative_config
    sse_keep_alive_interval ssl_ca_certs ssl_cert_reqs ssl_certfile ssl_ciphers ssl_keyfile stream_interval
    structured_outputs_config tensor_parallel_size tokenizer tokenizer_mode tokenizer_revision tokens_only tool_call_parser
    tool_parser_plugin tool_server trust_remote_code trust_request_chat_template ubatch_size uds use_fp64_gumbel use_replayssm
    use_tqdm_on_load uvicorn_log_level video_pruning_method video_pruning_rate watermark weight_transfer_config worker_cls
    worker_extension_cls
    """.split()
)

#: Arguments that another field of the config decides, or that would open what the herd keeps shut, with the way out.
OWNED_BY_THE_HERD = {
    "allowed_local_media_path": "a request must not read the node's files; send images as data: URLs",
    "allowed_media_domains": "use gateway.remote_images.allowed_hosts",
    "all2all_backend": "use parallel.all_to_all",
    "async_scheduling": "use the model's own field of this name",
    "api_key": "engines ask for the herd's own key",
    "data_parallel_size": "use parallel.data",
    "default_mm_loras": "the gateway knows no adapters: merge the adapter into a checkpoint, and serve that as a model",
    "device_ids": "Ray places engines on GPUs",
    "distributed_executor_backend": "the herd chooses it",
    "enable_eplb": "use parallel.redundant_experts",
    "enable_expert_parallel": "use parallel.expert",
    "enable_log_outputs": "completions are never logged",
    "enable_log_requests": "prompts are never logged",
    "enable_request_id_headers": "the gateway gives every answer its x-request-id",
    "enable_server_load_tracking": "gateways measure the load: `/-/status`",
    "enable_tokenizer_info_endpoint": "gateways have no such page: use /tokenize and /v1/models",
    "hf_token": "set HF_TOKEN in the environment of the nodes' Ray: a config is no place for a secret",
    "host": "an engine listens on its node's own address",
    "limit_mm_per_prompt": "use images_per_prompt",
    "lora_modules": "the gateway knows no adapters: merge the adapter into a checkpoint, and serve that as a model",
    "max_model_len": "use context_tokens",
    "middleware": "it would run without the check of the herd's key",
    "model": "use checkpoint",
    "override_generation_config": "use sampling",
    "pipeline_parallel_size": "use parallel.pipeline",
    "port": "an engine takes a free port; clients use gateway.port",
    "root_path": "clients ask gateways, whose paths are OpenAI's: let the proxy in front of them take a prefix away",
    "served_model_name": "use id and aliases",
    "sse_keep_alive_interval": "a comment before the first token would be taken for the token; "
    "let proxies wait as long as gateway.limits.first_byte_s",
    "tensor_parallel_size": "use parallel.tensor",
    "tokens_only": "an engine without the pages for chats and completions cannot serve",
    "trust_request_chat_template": "a template is a program, and it would come from the client",
    "trust_remote_code": "code from a checkpoint is never run",
    "uds": "an engine listens on its node's own address",
    **dict.fromkeys(
        ("allow_credentials", "allowed_headers", "allowed_methods", "allowed_origins"), "browsers ask gateways: use gateway.cors"
    ),
    **dict.fromkeys(
        ("enable_ssl_refresh", "ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_ciphers", "ssl_keyfile"),
        "use gateway.tls for clients, and engine_tls for the way from gateways to engines",
    ),
    **dict.fromkeys(
        ("disable_fastapi_docs", "enable_offline_docs", "cohere_format", "cohere_is_reasoning_model"),
        "no client reaches that page of an engine",
    ),
    **dict.fromkeys(
        (
            "disable_access_log_for_endpoints",
            "disable_uvicorn_access_log",
            "h11_max_header_count",
            "h11_max_incomplete_event_size",
            "uvicorn_log_level",
        ),
        "an engine's server is the herd's, which reads no such setting; gateway.limits bound requests",
    ),
    **dict.fromkeys(("enable_log_deltas", "log_config_file", "max_log_len"), "prompts and completions are never logged"),
    **dict.fromkeys(
        (
            "data_parallel_address",
            "data_parallel_external_lb",
            "data_parallel_hybrid_lb",
            "data_parallel_multi_port_external_lb",
            "data_parallel_rank",
            "data_parallel_rpc_port",
            "data_parallel_size_local",
            "data_parallel_start_rank",
            "data_parallel_supervisor_port",
            "dp_supervisor_probe_failure_threshold",
            "dp_supervisor_probe_interval_s",
            "dp_supervisor_probe_timeout_s",
            "master_addr",
            "master_port",
            "nnodes",
            "node_rank",
        ),
        "Ray places the ranks and tells them of each other: use parallel.data",
    ),
}


def complaints(engine: dict[str, Any]) -> Iterator[str]:
    """Yields a sentence for each further argument of a model that cannot be, with the way out."""
    for name, value in sorted(engine.items()):
        if name in OWNED_BY_THE_HERD:
            yield f"{name!r} is not set here: {OWNED_BY_THE_HERD[name]}"
        elif name not in ENGINE_ARGUMENTS:
            yield f"vLLM has no engine argument {name!r}; {hint(name.replace('-', '_'), ENGINE_ARGUMENTS)}".rstrip("; ")
        elif name == "structured_outputs_config" and not _names_one_backend(value):
            yield f"{name!r} must name one backend (xgrammar, guidance, outlines, lm-format-enforcer): all requests share it"
        elif not _is_json(value):
            yield f"{name!r} must be a JSON value: text, finite numbers, true, false, null, lists, and mappings with text as keys"
        elif wrong := complaint(name, value):
            yield wrong


def _names_one_backend(value: object) -> bool:
    return isinstance(value, dict) and value.get("backend") != "auto"


def _is_json(value: object) -> bool:
    """Tells whether JSON can say it: Ray Serve gets the config as JSON, and YAML's dates, sets and numbers as keys would be changed."""
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError, RecursionError):
        return False
