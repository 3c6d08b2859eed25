"""The rules for images in a request, read from its bytes without decoding it. Imports `policy.errors`."""
