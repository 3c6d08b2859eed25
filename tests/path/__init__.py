"""The path of a request over real sockets: the production edge, front, pipeline, roster and upstream; the engine is a fake."""
