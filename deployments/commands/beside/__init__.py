"""Commands that start and stop programs beside a herd, which is served without them."""
