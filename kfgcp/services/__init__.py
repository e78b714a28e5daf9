"""How kfgcp talks to services: one transport, retries, errors, pages, sign-in. No module here knows
a backend."""
