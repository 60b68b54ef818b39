"""A private lab: hosts, a NAT box and a world outside, made of namespaces.

The demo shows it and the tests use it.  Everything is held by descriptors of
this process, so that nothing outlives it.
"""
