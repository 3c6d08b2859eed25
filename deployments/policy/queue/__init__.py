"""In which order waiting requests are admitted, and when one is refused. Imports `policy.routing` and the rooms below it."""
