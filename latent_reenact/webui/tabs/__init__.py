"""The five tabs of the page: what is laid out, and what happens there."""
