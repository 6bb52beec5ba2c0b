"""The mathematics: symbolic covariances, the verbs that record, the planes they run on, and dual activations."""
