"""What is of one class answers every rule of the text alike."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from natscope import uapi
from natscope.table.classes import Classes

networks = st.one_of(
    st.builds(
        lambda a, p: ip_network((a, p), strict=False),
        st.integers(0, (1 << 32) - 1),
        st.integers(0, 32),
    ),
    st.builds(
        lambda a, p: IPv6Network((a, p), strict=False),
        st.integers(0, (1 << 128) - 1),
        st.integers(0, 128),
    ),
)


@given(st.lists(networks, min_size=1, max_size=6), st.data())
def test_addresses_of_one_class_are_in_the_same_networks(
    found: list[IPv4Network | IPv6Network], data: st.DataObject
) -> None:
    text = " ".join(f"saddr {network} accept;" for network in found)
    near = [int(network.network_address) + offset
            for network in found for offset in (-1, 0, 1)]  # fmt: skip
    version = data.draw(st.sampled_from([4, 6]))
    bits = 32 if version == 4 else 128
    values = data.draw(
        st.lists(
            st.one_of(st.integers(0, (1 << bits) - 1), st.sampled_from(near)).filter(
                lambda value: 0 <= value < 1 << bits
            ),
            min_size=2,
            max_size=8,
        )
    )
    words = np.array([[v >> 64, v & (1 << 64) - 1] for v in values], np.uint64)
    family = uapi.AF_INET if version == 4 else uapi.AF_INET6
    codes = Classes([text]).addresses(np.full(len(values), family, np.uint8), words)
    member = {
        code: {
            tuple(
                network.version == version
                and int(network.network_address) <= v <= int(network.broadcast_address)
                for network in found
            )
            for v, c in zip(values, codes.tolist(), strict=True)
            if c == code
        }
        for code in codes.tolist()
    }
    assert all(len(answers) == 1 for answers in member.values())
