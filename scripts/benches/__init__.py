"""What `scripts/bench` runs: hubreg measured beside something real, in the same run."""
