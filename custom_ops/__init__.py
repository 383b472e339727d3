"""StyleGAN2's two custom operators (imported as `latent_reenact.custom_ops`)."""

if __name__ == "custom_ops":  # the same file under two names would register its operators twice
    raise ImportError("import this package as latent_reenact.custom_ops, not as custom_ops")
