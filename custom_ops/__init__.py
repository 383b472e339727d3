"""StyleGAN2's custom operators (imported as `latent_reenact.custom_ops`)."""

if __name__ == "custom_ops":  # the same file under two names would register its operators twice
    raise ImportError("import this package as latent_reenact.custom_ops, not as custom_ops")

from .dispatch import auto_compiles_on_cpu, available_backends, backend_report, use_backend
from .operators import conv2d_resample, downsample2d, filter2d, fused_bias_act, upfirdn2d, upsample2d
from .reference import ACTIVATIONS, setup_filter
from .scaled import scaled_bias_act

__all__ = [
    "ACTIVATIONS",
    "auto_compiles_on_cpu",
    "available_backends",
    "backend_report",
    "conv2d_resample",
    "downsample2d",
    "filter2d",
    "fused_bias_act",
    "scaled_bias_act",
    "setup_filter",
    "upfirdn2d",
    "upsample2d",
    "use_backend",
]
