"""What learners share that learn from the past: joint replay, a loop of updates, critics, complete checkpoints."""
