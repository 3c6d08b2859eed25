"""An engine that is simulated: one scheduler, run in virtual time by a whole cluster of them, or in real time behind HTTP."""
