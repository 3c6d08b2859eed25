"""vLLM's CPU platform under the name that Ray's bundles have for GPUs. Loaded by vLLM alone, after it has chosen its platform."""

from vllm.platforms.cpu import CpuPlatform


class GpuStandIn(CpuPlatform):  # type: ignore[misc]
    """A CPU that answers to logical GPUs (`RAY_OVERRIDE_RESOURCES`), and so takes the placement groups of production."""

    ray_device_key = "GPU"
    device_control_env_var = "CUDA_VISIBLE_DEVICES"
