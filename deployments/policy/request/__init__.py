"""A request: its path, model, prompt, origin, and what it takes to continue its answer.

Imports `policy.images` and `policy.errors`.
"""
