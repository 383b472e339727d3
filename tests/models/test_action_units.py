"""Action units: names, the picture's part, the graphs by their equations; `test_golden.py` compares the numbers."""

from __future__ import annotations

import pytest
import torch
from meta_tensors import meta_state

from latent_reenact.models import UNIT_NAMES, ActionUnitConfig, ActionUnitDetector, ResNetConfig
from latent_reenact.models.action_units import EdgeExtractor, GatedGraphLayer, NeighbourGraph
from latent_reenact.models.build import describe_differences

BACKBONE = ResNetConfig(block="basic", depths=(1, 1, 1, 1), num_classes=None)
N, C = 5, 8


def tiny(stage: int) -> ActionUnitDetector:
    torch.manual_seed(0)
    return ActionUnitDetector(ActionUnitConfig(stage=stage, width=C, backbone=BACKBONE)).eval().requires_grad_(False)


@pytest.mark.parametrize("stage", [1, 2])
def test_published_names(stage) -> None:
    with torch.device("meta"):
        network = ActionUnitDetector(ActionUnitConfig(stage=stage))
    assert describe_differences(network, meta_state(f"opengraphau_stage{stage}")) == []


@pytest.mark.parametrize("stage", [1, 2])
def test_shapes(stage) -> None:
    detector = tiny(stage)
    images = torch.rand(2, 3, 256, 256) * 2 - 1
    shapes = {name: tuple(t.shape[1:]) for name, t in detector.features(images).items()}
    expected = {"backbone": (49, 512), "global_linear": (49, C), "f_v0": (27, C), "f_v1": (27, C)}
    expected |= {"f_e0": (27 * 27, C), "f_e1": (27 * 27, C)} if stage == 2 else {}
    assert shapes == expected
    scores = detector(images)
    assert scores.shape == (2, 41)
    assert scores.abs().max() <= 1 + 1e-6
    torch.testing.assert_close(scores[1:], detector(images[1:]))


def test_feature_names() -> None:
    """27 units, then 7 for the left and the right half."""
    assert len(UNIT_NAMES) == len(set(UNIT_NAMES)) == 41
    assert UNIT_NAMES[:4] == ("AU1", "AU2", "AU4", "AU5")
    assert UNIT_NAMES[26:29] == ("AU39", "AUL1", "AUR1")
    assert UNIT_NAMES[-2:] == ("AUL14", "AUR14")


def test_feature_scores_follow_the_names() -> None:
    """A node that points where its unit points scores one; a half-face unit reads the node of its whole-face unit."""
    head = tiny(1).head
    nodes = torch.rand(1, 27, C) + 0.1
    head.main_sc.copy_(nodes[0])
    torch.testing.assert_close(head.scores(nodes)[0, :27], torch.ones(27))
    for i, name in enumerate(UNIT_NAMES[27:]):
        node = UNIT_NAMES.index("AU" + name[3:])
        node = 8 if name[3:] == "12" else node  # upstream reads the pair of AU12 off the node of AU11
        head.sub_sc[i] = 3 * nodes[0, node]
    torch.testing.assert_close(head.scores(nodes)[0, 27:], torch.ones(14))


def test_feature_the_middle_of_the_picture_counts() -> None:
    """224 of 256; a picture of 224 is taken whole, and larger ones are made smaller first."""
    detector = tiny(1)
    images = torch.rand(1, 3, 256, 256) * 2 - 1
    scores = detector(images)
    framed = torch.ones_like(images)
    framed[:, :, 16:240, 16:240] = images[:, :, 16:240, 16:240]
    torch.testing.assert_close(detector(framed), scores)
    torch.testing.assert_close(detector(images[:, :, 16:240, 16:240]), scores)
    assert detector(torch.rand(1, 3, 300, 300)).shape == (1, 41)


@torch.no_grad()
def test_feature_neighbours() -> None:
    """Every node against a sum written out: its K most similar nodes, degrees on both sides (equation 2)."""
    torch.manual_seed(1)
    graph, x = NeighbourGraph(N, C, 2).eval(), torch.randn(1, N, C)
    graph.bnv.running_mean.normal_()
    similarity = x[0] @ x[0].T
    near = [set(similarity[i].topk(2).indices.tolist()) for i in range(N)]
    heard = torch.stack(
        [sum(graph.V(x[0, j]) / (len(near[i]) * len(near[j])) ** 0.5 for j in sorted(near[i])) for i in range(N)]
    )
    torch.testing.assert_close(graph(x)[0], torch.relu(x[0] + graph.bnv((heard + graph.U(x[0]))[None])[0]))


@torch.no_grad()
def test_feature_gates() -> None:
    """Nodes and edges against sums written out (equations 5 and 6)."""
    torch.manual_seed(2)
    layer, x, edges = GatedGraphLayer(N, C).eval(), torch.randn(1, N, C), torch.randn(1, N * N, C)
    layer.bne.running_mean.normal_()
    pairs = torch.stack([layer.A(x[0, i]) + layer.B(x[0, j]) for i in range(N) for j in range(N)])
    expected_edges = edges + torch.relu(layer.bne((pairs + layer.E(edges[0]))[None]))
    gates = expected_edges[0].sigmoid()
    rows = []
    for i in range(N):
        weights = torch.stack([gates[i * N + j].exp() for j in range(N)])
        weights = weights / weights.sum(0)
        rows.append(layer.U(x[0, i]) + sum(weights[j] * layer.V(x[0, j]) for j in range(N)) / N)
    after, edges_after = layer(x, edges)
    torch.testing.assert_close(edges_after, expected_edges)
    torch.testing.assert_close(after[0], x[0] + torch.relu(layer.bnv(torch.stack(rows)[None])[0]))


@torch.no_grad()
def test_feature_edges() -> None:
    """Edge i * N + j is what node j sees in what node i sees (equations 3 and 4)."""
    torch.manual_seed(3)
    extractor, units, places = EdgeExtractor(N, C).eval(), torch.randn(1, N, 4, C), torch.randn(1, 4, C)
    edges = extractor(units, places)
    assert edges.shape == (1, N * N, C)
    seen = [extractor.FAM(units[0, i], places[0]) for i in range(N)]
    for i, j in ((0, 0), (1, 3), (4, 2)):
        edge = extractor.edge_proj(extractor.ARM(seen[j], seen[i]))
        torch.testing.assert_close(edges[0, i * N + j] * (1 + extractor.bn.eps) ** 0.5, edge.mean(0))
