"""The state of replicas and models as a whole: healthy, slow, being replaced, taken away. Imports the rooms of `policy` below it."""
