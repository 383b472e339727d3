"""insightface's recognition networks, which are published as ONNX files (extra `insightface`).

Its `buffalo_l` holds `w600k_r50.onnx`, `antelopev2` holds `glintr100.onnx`. Both take RGB as (pixel - 127.5) / 127.5,
which is our [-1, 1]. The first `antelope` normalises inside the network, takes 0..255 and gives wrong embeddings here.
"""

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
    def get_outputs(self) -> list[Any]: ...
    def run(self, outputs: Any, inputs: dict[str, np.ndarray]) -> list[np.ndarray]: ...


class OnnxIdentityEmbedder(nn.Module):
    """Face picture -> embedding, with the interface of `IdentityEmbedder`; no gradients.

    Args:
        session: takes RGB [B, 3, 112, 112] in [-1, 1], gives [B, embedding]; B may be fixed to 1.

    Raises:
        CorruptFileError: the session is of another network, such as a detector.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        inputs = [entry.shape for entry in session.get_inputs()]
        outputs = [entry.shape for entry in session.get_outputs()]
        batch = inputs[0][0]
        is_free = not isinstance(batch, int)  # a name, or None
        takes_faces = len(inputs) == 1 and list(inputs[0][1:]) == [3, _SIZE, _SIZE] and (is_free or batch == 1)
        gives_embeddings = len(outputs) == 1 and len(outputs[0]) == 2
        if not takes_faces or not gives_embeddings:
            raise CorruptFileError(
                f"the ONNX network takes {inputs} and gives {outputs}, expected [[batch, 3, {_SIZE}, {_SIZE}]] and "
                "[[batch, embedding]]; choose a recognition network such as w600k_r50.onnx"
            )
        self.input_name = session.get_inputs()[0].name
        self.one_by_one = not is_free

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
        """faces [B, 3, 112, 112] in [-1, 1], aligned as ArcFace -> unit vectors [B, embedding]."""
        array = faces.detach().float().cpu().numpy()
        pieces = np.split(array, len(array)) if self.one_by_one else [array]
        found = np.concatenate([self.session.run(None, {self.input_name: piece})[0] for piece in pieces])
        return F.normalize(torch.from_numpy(found).to(faces.device), dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """images [B, 3, H, W] in [-1, 1], aligned as FFHQ -> unit vectors [B, embedding].

        The crop is that of `IdentityEmbedder`, near the alignment by five points that these networks were trained on.
        """
        return self.embed(id_crop(images, _SIZE))
