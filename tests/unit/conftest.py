"""Laws run the same examples every time: a gate must not turn red on a change that has nothing to do with it."""

from hypothesis import settings

settings.register_profile("herd", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("herd")
