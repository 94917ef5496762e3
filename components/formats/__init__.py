"""What steps hand to each other: the writer and the reader of each format side by side."""
