"""Rehearse: what would happen to a packet, asked of the kernel in a private namespace.

Nothing of the box is touched, and root is not needed: the namespaces belong to a user
namespace of their own.
"""
