"""People who do not exist, and what can be done with them."""

from latent_reenact.editing.random_identity import sample_identity

__all__ = ["sample_identity"]
