"""What comes from outside: requests that did harm once or could, and what must be true of each answer and of the herd after it."""
