"""Readers of upstream checkpoint formats (imported as `latent_reenact.third_party`). No upstream code."""

if __name__ == "third_party":
    raise ImportError("import this package as latent_reenact.third_party, not as third_party")
