"""Doorward: a password opens a pre-auth token, a second factor exchanges it for session tokens."""

__version__ = "0.1.0"
