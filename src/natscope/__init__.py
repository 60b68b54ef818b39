"""natscope: see, explain and rehearse every network address translation."""
