"""Between what gateways and Ray Serve tell and the decision in `cluster.scaling`: pure, as the rest of `policy`."""
