"""Tests: `unit` mirrors the pure files, `path` drives a request with fakes, `e2e` runs real engines, `bench` measures."""
