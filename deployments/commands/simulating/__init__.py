"""`herd simulate`: a model of a config under a load, in virtual time, with rules of scaling beside each other."""
