"""A cluster in virtual time: simulated engines behind production's own routing and admission. Imports `policy` and `cluster`.

`scheduler` is one engine's batch over `kv_pool`, which takes its step times from `speed`; `traces` are the requests.
"""
