"""IPFIX (RFC 7011) out of events, as bytes; nothing here sends them."""
