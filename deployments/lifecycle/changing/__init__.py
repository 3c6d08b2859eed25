"""The parts of a change of a herd: what is checked first, and how it is told that everything has come up. Imported by `herd`."""
