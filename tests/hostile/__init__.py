"""What hostile clients send, over real sockets."""
