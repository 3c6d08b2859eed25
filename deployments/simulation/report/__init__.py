"""What a person reads of simulations: figures over time, and one page of HTML with plots. Pure."""
