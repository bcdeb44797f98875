"""allauth's protocol for apps, as far as it adds to our own REST: a second factor by security key, and their care."""
