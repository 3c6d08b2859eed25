"""Which replica serves a request, and whether another one is asked. Imports `policy.body` and the rooms below it."""
