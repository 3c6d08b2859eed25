"""What we see: every metric by name, and how they leave a process."""
