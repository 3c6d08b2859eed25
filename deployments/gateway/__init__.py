"""A gateway's process: from a client's request to a replica and back. Never imports `engine`; imports the rooms below both."""
