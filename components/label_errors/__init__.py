"""Which labels are probably wrong, shared by the steps that look at features of images."""
