"""A change of a herd: looked at before, checked, carried out in a process of its own, followed and waited for. `herd` has its steps."""
