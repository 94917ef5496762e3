"""Fine-tune the last layers of the backbone."""
