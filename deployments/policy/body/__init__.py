"""Which fields a request's body may have, and how large each may be. Imports `policy.request` and the rooms below it."""
