"""Weights in the nodes' caches: from the Hub to one node, from node to node, each file checked before anybody reads it.

`cache` knows the files of a node, `origins` where they come from, `files` how one arrives whole, `server` hands them on, `agent` does all
that on a node, `crew` are the agents of some nodes, `spread` tells them what to do, `engine_start` is what an engine does before it starts.
What is wanted, and who gets it from whom, is decided in `cluster.catalogue.weights`.
"""
