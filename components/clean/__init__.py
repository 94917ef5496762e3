"""Clean: the findings and a policy become keep or drop for every image, each drop with its reasons."""
