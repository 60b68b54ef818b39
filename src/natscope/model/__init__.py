"""What a tracked connection is: records without NumPy and without I/O."""
