"""The rules of the OpenID provider: what a portal may be, and what it may ask for."""
