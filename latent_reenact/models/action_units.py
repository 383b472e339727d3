"""OpenGraphAU: facial action units from a graph over their features (Luo et al. 2022, arXiv 2205.01782).

    picture --ResNet-50--> 49 places --global_linear--> x --one linear block a unit--> nodes f_v --graph--> scores

Stage 1 joins every node with its nearest neighbours (section 3.1); stage 2 learns features for the edges too
(section 3.2). Module names follow the published checkpoints.

Legend: B batch, N units, P = 49 places of the picture, C = 512 channels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latent_reenact.models.resnet import ResNet, ResNetConfig, imagenet_normalized, resized

MAIN_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 22, 23, 24, 25, 26, 27, 32, 38, 39)
SUB_UNITS = (1, 2, 4, 6, 10, 12, 14)  # scored for the left and the right half of the face
UNIT_NAMES = (*(f"AU{n}" for n in MAIN_UNITS), *(f"AU{side}{n}" for n in SUB_UNITS for side in "LR"))
# The node that each pair of half-face scores is read from. Upstream's order, in which the node of AU11
# serves the pair that it prints as AU12.
_SUB_NODES = (0, 1, 2, 4, 7, 8, 11)
_RESIZE, _CROP = 256, 224


@dataclass(frozen=True, kw_only=True)
class ActionUnitConfig:
    """Sizes of the detector. The defaults are the published first stage."""

    stage: Literal[1, 2] = 1
    width: int = 512
    neighbours: int = 4  # of each node in stage 1
    layers: int = 2  # of the graph network in stage 2
    backbone: ResNetConfig = field(default_factory=lambda: ResNetConfig(num_classes=None))


class LinearBlock(nn.Module):
    """Linear, BN over channels, ReLU."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.fc = nn.Linear(n_in, n_out)
        self.bn = nn.BatchNorm1d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        """[B, P, n_in] -> [B, P, n_out]."""
        return torch.relu(self.bn(self.fc(x).transpose(1, 2))).transpose(1, 2)


class NeighbourGraph(nn.Module):
    """Stage 1's graph layer: every node hears those that are most like it (equation 2)."""

    def __init__(self, nodes: int, width: int, neighbours: int) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.U = nn.Linear(width, width)
        self.V = nn.Linear(width, width)
        self.bnv = nn.BatchNorm1d(nodes)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, C]."""
        similarity = x @ x.transpose(1, 2)  # [B, N, N]
        least = similarity.topk(self.neighbours, dim=-1).values[..., -1:]
        adjacency = (similarity >= least).to(x.dtype)
        scale = adjacency.sum(-1).rsqrt()  # [B, N]
        heard = (adjacency * scale[:, :, None] * scale[:, None, :]) @ self.V(x)
        return torch.relu(x + self.bnv(heard + self.U(x)))


class CrossAttention(nn.Module):
    """One feature map looks at another."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear_q = nn.Linear(width, width // 2)
        self.linear_k = nn.Linear(width, width // 2)
        self.linear_v = nn.Linear(width, width)

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """[..., P, C], [..., P, C] -> [..., P, C]."""
        q, k = self.linear_q(query), self.linear_k(context)
        weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
        return weights @ self.linear_v(context)


class EdgeExtractor(nn.Module):
    """Features of every ordered pair of units, from what both see in the picture (equations 3 and 4)."""

    def __init__(self, nodes: int, width: int) -> None:
        super().__init__()
        self.FAM = CrossAttention(width)
        self.ARM = CrossAttention(width)
        self.edge_proj = nn.Linear(width, width)
        self.bn = nn.BatchNorm2d(nodes * nodes)

    def forward(self, units: Tensor, places: Tensor) -> Tensor:
        """units [B, N, P, C], places [B, P, C] -> edges [B, N * N, C]; edge i * N + j is of nodes i and j."""
        n = units.shape[1]
        seen = self.FAM(units, places[:, None].expand_as(units))
        end = seen.repeat_interleave(n, dim=1)  # i, i, i, ...
        start = seen.repeat(1, n, 1, 1)  # 0, 1, 2, ...
        return self.bn(self.edge_proj(self.ARM(start, end))).mean(2)


class GatedGraphLayer(nn.Module):
    """A gated graph convolution over nodes and edges (equations 5 and 6)."""

    def __init__(self, nodes: int, width: int) -> None:
        super().__init__()
        self.U, self.V, self.A, self.B, self.E = (nn.Linear(width, width, bias=False) for _ in range(5))
        self.bnv = nn.BatchNorm1d(nodes)
        self.bne = nn.BatchNorm1d(nodes * nodes)

    def forward(self, x: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, N, C], edges [B, N * N, C] -> the same."""
        n = x.shape[1]
        pairs = (self.A(x)[:, :, None] + self.B(x)[:, None]).flatten(1, 2)  # [B, N * N, C]
        edges = edges + torch.relu(self.bne(pairs + self.E(edges)))
        gates = edges.sigmoid().unflatten(1, (n, n)).softmax(2)  # [B, N, N, C]
        heard = (gates * self.V(x)[:, None]).sum(2) / n
        return x + torch.relu(self.bnv(self.U(x) + heard)), edges


class EdgeGraph(nn.Module):
    """Stage 2's graph layers."""

    def __init__(self, nodes: int, width: int, layers: int) -> None:
        super().__init__()
        self.graph_layers = nn.ModuleList(GatedGraphLayer(nodes, width) for _ in range(layers))

    def forward(self, x: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        for layer in self.graph_layers:
            x, edges = layer(x, edges)
        return x, edges


class UnitHead(nn.Module):
    """From the picture's places to the units' scores."""

    def __init__(self, config: ActionUnitConfig) -> None:
        super().__init__()
        n, width = len(MAIN_UNITS), config.width
        self.main_class_linears = nn.ModuleList(LinearBlock(width, width) for _ in range(n))
        self.edge_extractor = EdgeExtractor(n, width) if config.stage == 2 else None
        self.gnn = (
            NeighbourGraph(n, width, config.neighbours) if config.stage == 1 else EdgeGraph(n, width, config.layers)
        )
        self.main_sc = nn.Parameter(torch.randn(n, width))
        self.sub_sc = nn.Parameter(torch.randn(2 * len(SUB_UNITS), width))

    def features(self, places: Tensor) -> dict[str, Tensor]:
        """places [B, P, C] -> nodes before and after the graph, `f_v0`, `f_v1` [B, N, C]; edges `f_e0`, `f_e1`."""
        units = torch.stack([linear(places) for linear in self.main_class_linears], dim=1)  # [B, N, P, C]
        nodes = units.mean(2)
        if self.edge_extractor is None:
            return {"f_v0": nodes, "f_v1": self.gnn(nodes)}
        edges = self.edge_extractor(units, places)
        after, edges_after = self.gnn(nodes, edges)
        return {"f_v0": nodes, "f_e0": edges, "f_v1": after, "f_e1": edges_after}

    def scores(self, nodes: Tensor) -> Tensor:
        """nodes after the graph [B, N, C] -> cosine with each unit's own direction, [B, 41] (section 3.1.2)."""
        directions = F.normalize(torch.relu(torch.cat([self.main_sc, self.sub_sc])), dim=-1)  # [41, C]
        sub_nodes = [i for i in _SUB_NODES for _ in "LR"]
        nodes = F.normalize(nodes, dim=-1)
        return (torch.cat([nodes, nodes[:, sub_nodes]], dim=1) * directions).sum(-1)


class ActionUnitDetector(nn.Module):
    """Scores of 27 action units and of 7 more on each half of the face; 0.5 is upstream's threshold."""

    Config = ActionUnitConfig

    def __init__(self, config: ActionUnitConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ActionUnitConfig()
        self.backbone = ResNet(config.backbone)
        self.global_linear = LinearBlock(config.backbone.features, config.width)
        self.head = UnitHead(config)

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """images [B, 3, H, W] in [-1, 1] -> `backbone` [B, P, 2048], `global_linear` [B, P, C] and the head's."""
        x = self.backbone.features(imagenet_normalized(_centre(images))).flatten(2).transpose(1, 2)
        places = self.global_linear(x)
        return {"backbone": x, "global_linear": places, **self.head.features(places)}

    def forward(self, images: Tensor) -> Tensor:
        """images [B, 3, H, W] in [-1, 1], an aligned face -> scores [B, 41] in the order of `UNIT_NAMES`."""
        return self.head.scores(self.features(images)["f_v1"])


def _centre(images: Tensor) -> Tensor:
    """As upstream cuts: 256 × 256, of which the middle 224; a picture of 224 already is taken whole."""
    if tuple(images.shape[2:]) == (_CROP, _CROP):
        return images
    edge = (_RESIZE - _CROP) // 2
    return resized(images, _RESIZE)[:, :, edge : edge + _CROP, edge : edge + _CROP]
