"""Speed of each hop, as events per CPU-second and as ratios to a baseline in the same run."""
