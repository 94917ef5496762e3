"""Start pipelines: compile, run on this machine, submit."""
