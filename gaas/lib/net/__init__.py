"""Call addresses that people write, and reach nothing that is not theirs to reach.

    target = Guard().check("https://example.org/hook")   # raises AddressRefused
    answer = fetch("https://example.org/hook", guard=Guard(), method="POST", body=b"{}")

One door for webhooks now, and for datasets, providers and models that name an address of their own.
"""

from gaas.lib.net.fetch import Answer, Failed, fetch
from gaas.lib.net.guard import AddressRefused, Guard, Target

__all__ = ["AddressRefused", "Answer", "Failed", "Guard", "Target", "fetch"]
