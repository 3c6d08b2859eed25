"""GPUs as numbers: memory, bandwidth, arithmetic, and the link to the next GPU; and the names that people and tools have for them.

Memory is what torch sees, which is less than what is printed on the box. Bandwidth and dense FLOP/s (no sparsity) are the vendors' data
sheets; of cards for gamers the arithmetic is that with float32 sums, which is what vLLM's kernels do.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from configs.names import GpuName

GIB = 2**30
#: Ends of names that tell boards of the same chip apart.
BOARDS = ("-PCIe", "-NVL", "-40")
TERA = 1e12


@dataclass(frozen=True, slots=True)
class Gpu:
    """One kind of GPU."""

    name: str
    memory_gib: float
    bandwidth_bytes_s: float
    bf16_flops: float
    fp8_flops: float | None = None
    fp4_flops: float | None = None
    """None: 4-bit floats are unpacked to bf16."""
    link_bytes_s: float = 64e9
    """To another GPU of the node, both directions together; the default is PCIe 4.0 x16."""

    @property
    def amd(self) -> bool:
        """Whether it is one of AMD's, which vLLM serves by ROCm."""
        return self.name.startswith(("MI", "AMD"))

    @property
    def chip(self) -> str:
        """Returns the name without the board's: drivers and Ray call an H100 so on every board, and an A100 with every memory."""
        return next((self.name.removesuffix(board) for board in BOARDS if self.name.endswith(board)), self.name)

    @property
    def memory_bytes(self) -> float:
        """Memory that torch sees."""
        return self.memory_gib * GIB


Tflops = tuple[float, float | None, float | None]
"""In bf16, fp8 and fp4; none where a GPU has no such arithmetic."""
PCIE_4, PCIE_5 = 64.0, 128.0


def _gpu(name: GpuName, memory_gib: float, bandwidth_tb_s: float, tflops: Tflops, link_gb_s: float) -> Gpu:
    bf16, fp8, fp4 = tflops
    tera = (bf16 * TERA, fp8 and fp8 * TERA, fp4 and fp4 * TERA)
    return Gpu(name, memory_gib, bandwidth_tb_s * TERA, *tera, link_gb_s * 1e9)


#: Memory seen in logs and torch's out-of-memory messages: H100 79.19 (startup logs of vLLM 0.19), H200 (sglang#9743), A100 40GB,
#: RTX 4090, L40S 44.53 (vllm#15598), A10G 22.06, RTX 3090 23.58 (vllm#10517), RTX PRO 6000 94.97. Not seen here, and taken a little below
#: the box: the others. GB10 shares its 128 GB with the CPU: it is what the system sees, which is not all free.
GPUS: Mapping[GpuName, Gpu] = MappingProxyType(
    {
        gpu.name: gpu  # type: ignore[misc]
        for gpu in (
            _gpu("H100", 79.19, 3.35, (989, 1979, None), 900),
            _gpu("H100-PCIe", 79.19, 2.0, (756, 1513, None), PCIE_5),
            _gpu("H100-NVL", 93.1, 3.938, (835, 1671, None), 600),
            _gpu("H200", 139.8, 4.8, (989, 1979, None), 900),
            _gpu("H20", 95.0, 4.0, (148, 296, None), 900),
            _gpu("GH200", 94.5, 4.0, (989, 1979, None), 900),
            _gpu("B200", 178.35, 8.0, (2250, 4500, 9000), 1800),
            _gpu("B300", 267.0, 8.0, (2250, 4500, 14_000), 1800),
            _gpu("GB200", 184.0, 8.0, (2500, 5000, 10_000), 1800),
            _gpu("GB10", 119.6, 0.273, (125, 250, 500), 50),
            _gpu("A100", 79.15, 2.039, (312, None, None), 600),
            _gpu("A100-40", 39.50, 1.555, (312, None, None), 600),
            _gpu("A10G", 22.06, 0.600, (70, None, None), PCIE_4),
            _gpu("A40", 44.43, 0.696, (149.7, None, None), PCIE_4),
            _gpu("A6000", 47.43, 0.768, (154.8, None, None), PCIE_4),
            _gpu("L4", 22.03, 0.300, (121, 242, None), PCIE_4),
            _gpu("L40S", 44.53, 0.864, (362, 733, None), PCIE_4),
            _gpu("RTX3090", 23.58, 0.936, (71, None, None), PCIE_4),
            _gpu("RTX4090", 23.64, 1.008, (165.2, 330.3, None), PCIE_4),
            _gpu("RTX5090", 31.36, 1.792, (209.5, 419, 1676), PCIE_5),
            _gpu("RTX-PRO-6000", 94.97, 1.792, (503.8, 1007, 2015), PCIE_5),
            _gpu("MI300X", 191.98, 5.3, (1307, 2615, None), 896),
            _gpu("MI325X", 255.9, 6.0, (1307, 2615, None), 896),
        )
    }
)

#: Words of nvidia-smi, amd-smi and Kubernetes labels that say nothing about which GPU it is.
_NOISE = re.compile(
    r"nvidia|amd|tesla|geforce|instinct|graphics|ada|generation|workstation|server|edition|blackwell|max-q|oam|hbm\d?e?|sxm\d?|ac"
    r"|superchip|grace|hopper|tensor|core|gpu"
)
#: Memory as boxes have it, in a name.
_SIZE = re.compile(r"(24|32|40|48|80|94|96|141|144|180|192|256|288)(gb|gib)?")
#: Sizes in a name are of the box: the GPU that they mean where a name stands for several.
_SIZES: Mapping[tuple[str, str], GpuName] = {("a100", "40gb"): "A100-40", ("a100", "40"): "A100-40", ("h100", "94gb"): "H100-NVL"}
_ALIASES: Mapping[str, GpuName] = {
    "a100-pcie": "A100", "rtx-a6000": "A6000", "rtx-6000-pro": "RTX-PRO-6000", "rtxpro6000": "RTX-PRO-6000", "pro-6000": "RTX-PRO-6000",
    "gh200-480gb": "GH200", "gh200-120gb": "GH200", "dgx-spark": "GB10", "3090": "RTX3090", "4090": "RTX4090", "5090": "RTX5090",
    "h100-80gb-pcie": "H100-PCIe", "rtx-pro-6000": "RTX-PRO-6000",
}  # fmt: skip


def gpu_named(text: str) -> Gpu | None:
    """The GPU that a name means, as people, nvidia-smi (NVIDIA H100 80GB HBM3) or a Kubernetes label (NVIDIA-A100-SXM4-40GB) write it."""
    words = [word for word in re.split(r"[\s_/-]+", text.strip().lower()) if word and not _NOISE.fullmatch(word)]
    return GPUS[found] if (found := _found(words)) else None


def _found(words: list[str]) -> GpuName | None:
    plain: dict[str, GpuName] = {name.lower().replace("-", ""): name for name in GPUS}
    sized = [word for word in words if _SIZE.fullmatch(word)]
    bare = [word for word in words if word not in sized]
    for size in sized:
        if bare and (found := _SIZES.get((bare[0], size))):
            return found
    for kept in (words, bare):
        joined = "-".join(kept)
        if found := _ALIASES.get(joined) or plain.get(joined.replace("-", "")):
            return found
    return None


def near_miss(text: str) -> GpuName | None:
    """The known GPU whose name is most like a text; none where no name is."""
    names: dict[str, GpuName] = {name.lower(): name for name in GPUS}
    close = difflib.get_close_matches(text.strip().lower().replace(" ", ""), names, n=1, cutoff=0.6)
    return names[close[0]] if close else None
