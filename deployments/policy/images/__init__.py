"""What an image in a request may be, read from its bytes without decoding it. Imports `policy.errors`."""
