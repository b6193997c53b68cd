"""MADDPG: deterministic policies, and critics that see what all agents see and do."""
