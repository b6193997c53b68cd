"""The same worlds behind the interfaces others expect: RLlib, PettingZoo, and a stranger's env as a batch."""
