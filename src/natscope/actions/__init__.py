"""What changes the kernel: first a plan, then its execution, with a count."""
