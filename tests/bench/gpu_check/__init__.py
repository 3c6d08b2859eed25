"""`make gpu-check`: real engines on this machine's GPU, with dummy weights of real sizes, beside the plan."""
