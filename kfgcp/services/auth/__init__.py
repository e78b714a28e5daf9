"""Where the tokens of requests come from."""
