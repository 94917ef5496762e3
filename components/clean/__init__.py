"""Clean: the findings and a policy become keep, fix, drop or quarantine for every image, each with its reasons."""
