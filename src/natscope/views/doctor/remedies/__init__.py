"""Commands that mend, in words that can be typed."""
