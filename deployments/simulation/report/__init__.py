"""Reports of simulations for people: figures over time, and one page of HTML with plots. Pure."""
