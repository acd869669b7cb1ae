"""What every run shares: strategy, optimizer, the one train step, the loop, run state, command line."""
