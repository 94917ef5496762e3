"""Which images are copies of one another, whatever was done to them: shared by audit and split."""
