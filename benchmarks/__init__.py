"""Measurements that anyone can repeat: ours beside another way to do the same, in one run, as ratios."""
