"""Recording: a model's own forward runs once on symbolic values and leaves a program behind."""
