"""Where events go to stay: files and the network."""
