"""Pure questions about a table: what a listing shows, who, how many."""
