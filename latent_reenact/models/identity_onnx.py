"""insightface's recognition networks, which are published as ONNX files (extra `insightface`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latent_reenact.errors import CorruptFileError, MissingDependencyError
from latent_reenact.models.identity import id_crop

_SIZE = 112


class Session(Protocol):
    """What is used of `onnxruntime.InferenceSession`."""

    def get_inputs(self) -> list[Any]: ...
    def run(self, outputs: Any, inputs: dict[str, np.ndarray]) -> list[np.ndarray]: ...


class OnnxIdentityEmbedder(nn.Module):
    """Face picture -> embedding, with the interface of `IdentityEmbedder`; no gradients.

    Args:
        session: takes RGB [B, 3, 112, 112] in [-1, 1] ((pixel - 127.5) / 127.5), gives [B, embedding].
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        entry = session.get_inputs()[0]
        if list(entry.shape[1:]) != [3, _SIZE, _SIZE]:
            raise CorruptFileError(f"the ONNX network takes {entry.shape}, expected [batch, 3, {_SIZE}, {_SIZE}]")
        self.input_name = entry.name

    @classmethod
    def load(cls, path: str | Path) -> OnnxIdentityEmbedder:
        """Open a recognition model such as `w600k_r50.onnx`.

        Raises:
            MissingDependencyError: onnxruntime is not installed.
            CorruptFileError: not an ONNX recognition network.
        """
        try:
            import onnxruntime
        except ImportError:
            raise MissingDependencyError(
                "reading an ONNX network needs onnxruntime: pip install 'latent-reenact[insightface]'"
            ) from None
        if not Path(path).is_file():
            raise CorruptFileError(f"cannot read {path}: expected an ONNX file; check the path")
        try:
            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own classes derive from Exception alone
            reason = (str(error).splitlines() or ["unknown"])[0]
            raise CorruptFileError(f"{path} is not an ONNX network that runs here: {reason}") from error
        return cls(session)

    def embed(self, faces: Tensor) -> Tensor:
        """faces [B, 3, 112, 112] in [-1, 1] -> unit vectors [B, embedding]."""
        array = faces.detach().float().cpu().numpy()
        (out,) = self.session.run(None, {self.input_name: array})
        return F.normalize(torch.from_numpy(np.asarray(out)).to(faces.device), dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """images [B, 3, H, W] in [-1, 1], aligned as FFHQ -> unit vectors [B, embedding]."""
        return self.embed(id_crop(images, _SIZE))
