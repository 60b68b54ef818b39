"""What a snapshot says: of flows, counters, chains and ways."""
