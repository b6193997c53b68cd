"""QMIX, and by a switch value decomposition networks and independent Q-learning."""
