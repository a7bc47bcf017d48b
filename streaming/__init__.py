"""Where events come from and how they reach the learner."""
