"""Results to bytes: aligned text, JSON, CSV."""
