"""Extended BPF without a compiler: assembler, bpf(2), BTF.

Only what programs at netfilter hooks and at the kfree_skb tracepoint need, for
64-bit little-endian machines.  Sources: Documentation/bpf (instruction-set, btf,
ringbuf) and linux/bpf.h.
"""
