"""The status of a herd as a gateway shows it to operators: the page `/status` for browsers, `/-/status` and `/-/history` for programs."""
