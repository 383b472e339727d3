"""StyleGAN2's two custom operators (imported as `latent_reenact.custom_ops`)."""

if __name__ == "custom_ops":  # the same file under two names would register its operators twice
    raise ImportError("import this package as latent_reenact.custom_ops, not as custom_ops")

from .reference import (
    ACTIVATIONS,
    conv2d_resample,
    downsample2d,
    filter2d,
    fused_bias_act,
    setup_filter,
    upfirdn2d,
    upsample2d,
)

__all__ = [
    "ACTIVATIONS",
    "available_backends",
    "conv2d_resample",
    "downsample2d",
    "filter2d",
    "fused_bias_act",
    "setup_filter",
    "upfirdn2d",
    "upsample2d",
]


def available_backends() -> tuple[str, ...]:
    """The back ends that can run here, fastest first."""
    return ("reference",)
