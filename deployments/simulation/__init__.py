"""A cluster in virtual time: simulated engines behind production's own routing and admission. Imports `policy` and `cluster`.

`engine` is one replica's, `fleet` are the replicas that come and go, `autoscaling` what scales them, `loads` the requests; `cluster` runs
them all, over a `setup`, and `outcome` is what it says at its end.
"""
