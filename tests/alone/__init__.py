"""Tests that start engines of their own, one after the other: in a folder before `e2e`, whose herd is up until all tests end."""
