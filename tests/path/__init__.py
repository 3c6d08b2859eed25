"""The path of a request over real sockets: the production edge, front, pipeline, roster and upstream, against an engine that can misbehave."""
