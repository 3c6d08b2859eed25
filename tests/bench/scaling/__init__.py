"""Rules of others that scale replicas, over the simulated cluster, beside ours."""
