"""What requests say and answers look like: the Open Inference Protocol V2, and named observations."""
