"""What the live kernel does with real packets: rules and positions."""
