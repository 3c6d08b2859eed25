"""The programs that are connected to a Ray cluster. Needs a connection to Ray.

Decides nothing. Ray calls each connected program a job, and learns of its end however it ends: with its host, too. The table of jobs is not
documented; only this file knows it.
"""


def own() -> str:
    """Returns the id of this program's connection."""
    import ray

    return str(ray.get_runtime_context().get_job_id())


def lives(job: str) -> bool:
    """Tells whether the program of a connection still runs."""
    from ray._private.state import state

    return any(one["JobID"] == job and not one["IsDead"] for one in state.job_table())
