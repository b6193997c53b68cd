"""Stages, the state machine that moves between them, and the callback that sets tasks on all runners."""
