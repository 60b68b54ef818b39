"""Text that means something: what conntrack(8), nft(8) and others print, read back."""
