"""The programs that are connected to a Ray cluster. Needs a connection to Ray.

Ray calls each connected program a job, and learns of its end however it ends: at once where its process ends, and where its host goes, when
the host's node misses its health checks, which takes half a minute. The table of jobs is not documented; only this file knows it.
"""

from deployments.ray_calls.nodes import gone


def own() -> str:
    """Returns the id of this program's connection."""
    import ray

    return str(ray.get_runtime_context().get_job_id())


def lives(job: str) -> bool:
    """Tells whether the program of a connection still runs. On a node that is gone none does, also where Ray has not closed its job."""
    from ray._private.state import state

    address = next((one["DriverIPAddress"] for one in state.job_table() if one["JobID"] == job and not one["IsDead"]), None)
    return address is not None and address not in gone()
