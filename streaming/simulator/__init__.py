"""A simulated ad market that knows the true click probability of every impression."""
