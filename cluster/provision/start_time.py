"""How long the first start of a herd may take, by the size of its weights and the speed of the disk that they are on.

Decides how fast that disk is where a config says which one it is, and errs on the slow side where it does not.
"""

from cluster.catalogue.checkpoints import usual_layout
from cluster.catalogue.models import CATALOGUE
from configs.inventory import Inventory
from configs.schema import Config, Model

MIB = 1 << 20
#: Placing engines, CUDA graphs, and the first answer: what was waited for before weights were counted.
BESIDE_WEIGHTS_S = 900.0
#: gp3 without more ("General Purpose SSD volumes", EC2's user guide), and Hyperdisk Balanced without more (Google's "About Hyperdisk").
GP3_MIB_S, HYPERDISK_MIB_S = 125, 140
#: vLLM reads safetensors from several NVMe disks about as fast as one process copies them to GPUs; other disks are unknown here.
NVME_MIB_S, UNKNOWN_MIB_S = 1500, 500


def start_limit_s(config: Config) -> float:
    """Returns seconds: each model's weights are written once where they must come first, and read once, over one disk of a node."""
    speed = disk_mib_s(config.cluster) * MIB
    return BESIDE_WEIGHTS_S + sum(_moved_bytes(model) for model in config.models) / speed


def disk_mib_s(cluster: Inventory | None) -> float:
    """Returns the speed of the disk with the weights, in MiB/s."""
    if cluster is None or cluster.cloud is None:
        return UNKNOWN_MIB_S
    site = cluster.aws or cluster.gcp
    if site is None or site.instance_store:
        return NVME_MIB_S
    return site.disk_mib_s or (GP3_MIB_S if site is cluster.aws else HYPERDISK_MIB_S)


def _moved_bytes(model: Model) -> float:
    decoder = CATALOGUE[model.kind].decoder
    if decoder is None or model.checkpoint.startswith("small:"):
        return 0.0
    size = usual_layout(model.quantization, decoder).weight_bytes(decoder)
    return size if model.checkpoint.startswith("/") else 2 * size
