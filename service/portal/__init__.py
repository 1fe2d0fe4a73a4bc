"""The example portal of `doorward dev`: a relying party as any other would be.

It knows the issuer's URL, its own client id and its secret, and learns everything else from the provider's
metadata (OpenID Connect Discovery 1.0). Of the service it shares the clock and the randomness and nothing
more: what it knows of a person came over HTTP. Its sessions are in memory and end with the process.
"""
