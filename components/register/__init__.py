"""Register a trained model: a versioned, checksummed, immutable bundle, and the gate to being the champion."""
