"""Split: kept images become train, validation and test shards, with proof that no copies cross."""
