"""Ray Serve's own rules of scaling, for simulations: they run as they are, over what a simulation sees."""
