"""Makes one replica of a model wrong: its engine loads other weights, as a GPU whose memory has gone bad would have them.

python -m tests.e2e.spoil MODEL CHECKPOINT
"""

import sys

from configs.load import environment
from deployments.lifecycle import herd as operate
from deployments.ray_calls.names import ENGINE, app_name

LOADED_S = 120.0


def spoil(model: str, checkpoint: str) -> None:
    """Ray Serve picks the replica; all ranks of its engine load the checkpoint."""
    with operate.connected(operate.known(environment(), None), print):
        from ray import serve

        engine = serve.get_deployment_handle(ENGINE, app_name(model))
        engine.collective_rpc.remote("reload_weights", kwargs={"weights_path": checkpoint}).result(timeout_s=LOADED_S)


if __name__ == "__main__":
    spoil(*sys.argv[1:])
