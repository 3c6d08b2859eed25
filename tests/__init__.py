"""Tests: `unit` mirrors the pure files, `path` drives a request with fakes, `e2e` and `own_herd` run real engines, `bench` measures."""
