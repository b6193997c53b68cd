"""What RLlib lacks: the batched runner, its PPO, the networks, and complete checkpoints."""
