"""Spans and log lines of requests that have ended."""
