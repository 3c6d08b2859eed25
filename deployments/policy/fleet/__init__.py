"""What replicas and models are as a whole: healthy, slow, being replaced, taken away. Imports the rooms of `policy` below it."""
