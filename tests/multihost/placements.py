"""Run by a node's Python in its container: waits for nodes and for the places of engines, and prints what Ray says of both.

    python placements.py NODES BUNDLES SECONDS

NODES that live, and BUNDLES in the placement groups of Ray Serve's replicas and gangs that Ray has placed, none of which waits.
"""

import json
import sys
import time
from typing import Any

import ray

OF_SERVE = ("SERVE_REPLICA::", "SERVE_GANG::")
GONE = "REMOVED"


def main(nodes: int, bundles: int, within_s: float) -> None:
    """Prints one line of JSON when they are there, or when the time is over."""
    ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
    deadline = time.monotonic() + within_s
    while True:
        living = {one["NodeID"]: one for one in ray.nodes() if one["Alive"]}
        groups = [one for one in ray.util.placement_group_table().values() if one["name"].startswith(OF_SERVE) and one["state"] != GONE]
        placed = sum(len(one["bundles"]) for one in groups if one["state"] == "CREATED")
        there = len(living) == nodes and placed == bundles and all(one["state"] == "CREATED" for one in groups)
        if there or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    told = {"nodes": [_node(one) for one in living.values()], "groups": [_group(one, living) for one in groups]}
    sys.stdout.write(json.dumps(told) + "\n")


def _node(one: dict[str, Any]) -> dict[str, Any]:
    return {"address": one["NodeManagerAddress"], "labels": one["Labels"], "resources": one["Resources"]}


def _group(one: dict[str, Any], living: dict[str, Any]) -> dict[str, Any]:
    hosts = {int(number): living[node]["NodeManagerAddress"] for number, node in one["bundles_to_node_id"].items() if node in living}
    told = [{"host": hosts.get(int(number)), "asks": asks} for number, asks in sorted(one["bundles"].items(), key=lambda two: int(two[0]))]
    return {"name": one["name"], "state": one["state"], "strategy": one["strategy"], "bundles": told}


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
