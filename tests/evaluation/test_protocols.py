"""Cross- and self-reenactment at toy size: reports, resuming, right answers, outside programs, bad input."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("numba")

from tiny import BODY, CentreDetector, networks, reenactor

from latent_reenact.errors import ConfigError, CorruptFileError, UsageError
from latent_reenact.evaluation.clips import Clip, SyntheticClips
from latent_reenact.evaluation.comparison import Comparison
from latent_reenact.evaluation.contestants import (
    CommandContestant,
    Contestant,
    ModelContestant,
    SystemSpec,
    open_commands,
)
from latent_reenact.evaluation.estimators import DlibEstimator, NetworkEstimator
from latent_reenact.evaluation.judges import OutsideJudge
from latent_reenact.evaluation.protocols import ProtocolConfig, compare
from latent_reenact.evaluation.store import Store
from latent_reenact.models import LPIPS, FaceReader, FaceReaderConfig, IdentityEmbedder, IdentityEmbedderConfig
from latent_reenact.synthface import Renderer, tiny_mesh
from latent_reenact.systems.linear import LinearReenactor

SIZE, FRAMES, PAIRS = 32, 5, 3
RENDERER = Renderer(tiny_mesh())
SMALL = {"pairs": PAIRS, "frames": FRAMES, "size": SIZE, "bootstrap": 100, "strips": 1}


@dataclass
class Fake:
    """A contestant of any behaviour."""

    name: str
    answer: Callable[[Clip, Clip], np.ndarray]
    fingerprint: str = "fake"
    takes_clips: bool = False
    runs: list[str] = field(default_factory=list)

    def run(self, identity: Clip, driving: Clip) -> np.ndarray:
        self.runs.append(driving.name)
        return self.answer(identity, driving)


def copying(name: str = "copy") -> Fake:
    return Fake(name, lambda identity, driving: driving.frames)


def source(size: int = SIZE) -> SyntheticClips:
    return SyntheticClips(RENDERER, count=PAIRS, frames=FRAMES, fps=4.0, size=size)


def own() -> NetworkEstimator:
    torch.manual_seed(1)
    reader = FaceReader(FaceReaderConfig(input_size=SIZE, body=BODY, heat_width=4, bottleneck=8)).eval()
    for name in ("heat.5.weight", "motion.2.weight"):  # zero at birth: it would see the mean face everywhere
        torch.nn.init.normal_(reader.get_parameter(name), std=5.0)
    identity = IdentityEmbedder(IdentityEmbedderConfig(input_size=SIZE, embedding=8, body=BODY)).eval()
    return NetworkEstimator({"face_reader": reader, "identity": identity}, name="toy", fingerprint="1")


def outside() -> DlibEstimator:
    describe = lambda image, landmarks: np.r_[image.mean((0, 1)), image.std((0, 1))]  # noqa: E731
    return DlibEstimator(OutsideJudge(CentreDetector(), describe), every=2)


def run(folder: Path, *contestants: Contestant, protocol: str = "cross", **options: object) -> Comparison:
    folder.mkdir(exist_ok=True)
    config = ProtocolConfig(protocol=protocol, **SMALL)  # type: ignore[arg-type]
    return compare(contestants, options.pop("source", source()), [own()], folder, config, **options)  # type: ignore[arg-type]


def means(comparison: Comparison, system: str) -> dict[str, float]:
    return {key: estimate.mean for key, estimate in comparison.table[system].items()}


# ---------------------------------------------------------------- whole reports


def test_smoke(tmp_path: Path) -> None:
    """Two systems of ours, one of which takes clips, read by two estimators."""
    latent = ModelContestant("latent", reenactor, fingerprint="1", framing=1.12, size=SIZE)
    linear = ModelContestant(
        "linear-psp",
        lambda: LinearReenactor(networks().inversion, name="tiny-linear", framing=1.12),
        fingerprint="1",
        framing=1.12,
        size=SIZE,
    )
    tmp_path.joinpath("r").mkdir()
    done = compare([latent, linear], source(), [own(), outside()], tmp_path / "r", ProtocolConfig(**SMALL))
    assert list(done.table) == ["latent", "linear-psp", "right answer"]
    assert (done.done, done.skipped) == ({"latent": 3, "linear-psp": 3, "right answer": 3}, {})
    keys = {m.key for m in done.measures}
    assert {"toy.pose_mae", "toy.fl", "toy.units_r", "toy.csim", "toy.nmse", "toy.frechet"} <= keys
    assert {"dlib.pose_mae", "dlib.fl", "dlib.csim", "psnr", "ssim", "distance"} <= keys
    assert (done.takes_clips["latent"], done.takes_clips["linear-psp"]) == (False, True)
    report = (tmp_path / "r" / "report.md").read_text(encoding="utf-8")
    assert "linear-psp: saw the identity's whole clip" in report
    assert "Pose MAE, published [HopeNet]" in report
    assert "[toy]" in report
    for official in ("FAU ↑ [", "LPIPS", "FID", "ArcFace ("):
        assert official not in report, "a substitute under the official name"
    saved = json.loads((tmp_path / "r" / "report.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert saved["systems"]["latent"]["psnr"]["n"] == 3
    html = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    assert "<svg" in html
    assert "data:image/jpeg;base64," in html
    assert 'src="http' not in html


def test_feature_right_answer_is_perfect(tmp_path: Path) -> None:
    clips = source()
    done = run(tmp_path / "r", Fake("oracle", clips.answer), copying())
    oracle, copy = means(done, "oracle"), means(done, "copy")
    assert oracle["psnr"] == 99
    assert oracle["ssim"] == pytest.approx(1)
    assert (oracle["toy.nmse"], oracle["distance"]) == (0, 0)
    assert copy["psnr"] < 40
    assert (copy["toy.pose_mae"], copy["toy.prmse"]) == (0, 0)
    assert copy["toy.units_r"] == pytest.approx(1)
    assert copy["toy.csim"] < oracle["toy.csim"] + 1e-9 or copy["psnr"] < oracle["psnr"]


def test_feature_lpips_is_preferred_to_its_substitute(tmp_path: Path) -> None:
    torch.manual_seed(0)
    lpips = NetworkEstimator({"lpips": LPIPS().eval()}, name="lpips-alex", fingerprint="2", converted=True)
    (tmp_path / "r").mkdir()
    done = compare([copying()], source(64), [own(), lpips], tmp_path / "r", ProtocolConfig(**{**SMALL, "size": 64}))
    assert "LPIPS, to the right answer" in {m.text for m in done.measures}
    assert done.table["copy"]["distance"].n == PAIRS


def test_feature_self_reenactment(tmp_path: Path) -> None:
    done = run(tmp_path / "r", copying(), protocol="self")
    assert means(done, "copy")["psnr"] == 99
    assert all(strip.pair.identity == strip.pair.driving for strip in done.strips)
    assert done.published_rows() == [["measure"]]  # the thesis's table is of cross-reenactment


def test_feature_second_run_gives_the_same_and_works_no_more(tmp_path: Path) -> None:
    run(tmp_path / "r", copying())
    first = (tmp_path / "r" / "report.json").read_bytes()
    again = copying()
    run(tmp_path / "r", again)
    assert (tmp_path / "r" / "report.json").read_bytes() == first
    assert again.runs == []
    run(tmp_path / "other", copying())
    assert (tmp_path / "other" / "report.json").read_bytes() == first


def test_feature_goes_on_where_it_stopped(tmp_path: Path) -> None:
    def stop(done: float, total: float | None, unit: str) -> None:
        if done == 4:  # the second pair's copy is next
            raise KeyboardInterrupt

    first, second = copying(), copying()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "r", first, progress=stop)
    run(tmp_path / "r", second)
    assert len(first.runs) + len(second.runs) == PAIRS
    assert len(first.runs) == 2


def test_feature_other_weights_are_another_system(tmp_path: Path) -> None:
    run(tmp_path / "r", copying())
    again = copying()
    again.fingerprint = "retrained"
    run(tmp_path / "r", again)
    assert len(again.runs) == PAIRS


def test_feature_a_failing_system_is_skipped_and_named(tmp_path: Path) -> None:
    def moody(identity: Clip, driving: Clip) -> np.ndarray:
        if driving.name == "synthface-0001":
            raise CorruptFileError("out of paint")
        return driving.frames

    done = run(tmp_path / "r", Fake("moody", moody), copying(), Fake("short", lambda i, d: d.frames[1:]))
    assert done.done == {"moody": 2, "copy": 3, "short": 0, "right answer": 3}
    ((pair, why),) = done.skipped["moody"].items()
    assert pair.endswith("<- synthface-0001")
    assert why == "out of paint"
    assert "moody: 1 pairs skipped" in done.markdown()
    assert len(done.skipped["short"]) == 3
    assert "copy" in done.table


def test_feature_a_bad_clip_is_left_out_and_named(tmp_path: Path) -> None:
    class Torn(SyntheticClips):
        def load(self, name: str) -> Clip:
            if name == "synthface-0002":
                raise CorruptFileError("no face in it")
            return super().load(name)

    torn = Torn(RENDERER, count=PAIRS, frames=FRAMES, fps=4.0, size=SIZE)
    done = run(tmp_path / "r", copying(), source=torn)
    assert done.bad_clips == {"synthface-0002": "no face in it"}
    assert done.done["copy"] == 1
    assert "left out: clip synthface-0002: no face in it" in done.markdown()


def test_exception_other_settings_in_one_folder(tmp_path: Path) -> None:
    run(tmp_path / "r", copying())
    with pytest.raises(ConfigError, match=r"holds another evaluation .*seed 0, now 1"):
        compare([copying()], source(), [own()], tmp_path / "r", ProtocolConfig(**{**SMALL, "seed": 1}))


def test_exception_names_and_sizes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="each of another name"):
        run(tmp_path / "r", copying(), copying("Copy"))
    for bad in ({"pairs": 1}, {"frames": 3}, {"fps": 0.0}, {"size": 8}):
        with pytest.raises(ConfigError, match="expected"):
            ProtocolConfig(**bad)  # type: ignore[arg-type]


def test_feature_store_keeps_frames_exactly(tmp_path: Path) -> None:
    store = Store(tmp_path, {})
    frames = np.random.default_rng(0).integers(0, 256, (19, 8, 8, 3)).astype(np.uint8)
    store.keep_frames("a", 3, frames)
    assert np.array_equal(store.frames("a", 3, 19), frames)
    store.keep_frames("a", 4, frames[:5])
    assert np.array_equal(store.frames("a", 4, 5), frames[:5])
    with pytest.raises(CorruptFileError, match="expected 30"):
        store.frames("a", 4, 30)


# ---------------------------------------------------------------- systems and outside programs


def clip(frames: int = 6, seed: int = 0, size: int = 64) -> Clip:
    smooth = np.linspace(0, 200, size)[None, :, None, None] + np.zeros((frames, 1, size, 3))
    return Clip(f"c{seed}", "someone", (smooth + 5 * np.arange(frames)[:, None, None, None]).astype(np.uint8), 4.0)


def program(tmp_path: Path, body: str) -> str:
    script = tmp_path / "program.py"
    script.write_text(f"import sys, shutil, time\nidentity, driving, output = sys.argv[1:]\n{body}\n", encoding="utf-8")
    return f"{sys.executable} {script} {{identity}} {{driving}} {{output}}"


def test_feature_outside_program(tmp_path: Path) -> None:
    command = program(tmp_path, "shutil.copy(driving, output)")
    out = CommandContestant("copy", command, time_limit_s=60, size=32).run(clip(seed=1), clip())
    assert out.shape == (6, 32, 32, 3)
    small = clip().frames.reshape(6, 32, 2, 32, 2, 3).mean((2, 4))
    assert np.abs(out.astype(float) - small).mean() < 4


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("sys.exit('no GPU here')", "exit code 1: no GPU here"),
        ("sys.exit(3)", "exit code 3: it said nothing"),
        ("pass", "no output was written"),
        ("time.sleep(60)", "time limit of 0.5 s"),
        ("open(output, 'w').write('hello')", "cannot be read as a video|is not a video"),
    ],
)
def test_exception_outside_program(tmp_path: Path, body: str, why: str) -> None:
    limit = 0.5 if "sleep" in body else 60.0
    contestant = CommandContestant("bad", program(tmp_path, body), time_limit_s=limit, size=32)
    with pytest.raises(Exception, match=why) as caught:
        contestant.run(clip(seed=1), clip())
    assert type(caught.value).__module__ == "latent_reenact.errors"


def test_exception_outside_program_returns_too_few_frames(tmp_path: Path) -> None:
    contestant = CommandContestant(
        "first", program(tmp_path, "shutil.copy(identity, output)"), time_limit_s=60, size=32
    )
    with pytest.raises(CorruptFileError, match="got 4 frames, expected 6"):
        contestant.run(clip(frames=4), clip())
    missing = CommandContestant("gone", "/no/such/program {identity} {driving} {output}", time_limit_s=9, size=32)
    with pytest.raises(ConfigError, match="cannot be started"):
        missing.run(clip(), clip())


def test_feature_names_of_commands() -> None:
    places = "{identity} {driving} {output}"
    named = open_commands([f"fomm=run.sh {places}", f"x {places} a=b", f"a/b=c {places}"], time_limit_s=1, size=32)
    assert [c.name for c in named] == ["fomm", "command-2", "command-3"]
    with pytest.raises(ConfigError, match=r"has no \{driving\}"):
        open_commands(["run.sh {identity} {output}"], time_limit_s=1, size=32)
    with pytest.raises(ConfigError, match="cannot be split"):
        open_commands(["run.sh 'open {identity}"], time_limit_s=1, size=32)


def test_feature_names_of_systems(tmp_path: Path) -> None:
    parsed = SystemSpec.parse("latent, linear-psp,linear-e4e=/models/e4e,cos=/models/cos", "mine")
    assert [(s.name, s.model, s.linear) for s in parsed] == [
        ("latent", "mine", False),
        ("linear-psp", "mine", True),
        ("linear-e4e", "/models/e4e", True),
        ("cos", "/models/cos", False),
    ]
    (named,) = SystemSpec.parse("linear-builtin", "mine")
    assert (named.model, named.linear) == ("builtin", True)
    for bad in ("", "latent,latent", "=x", "a/b=x", "linear-e4e", "unheard-of"):
        with pytest.raises(UsageError, match="--systems"):
            SystemSpec.parse(bad, "mine")


def test_feature_another_framing_is_cut_and_put_back() -> None:
    """A model that sees FFHQ's own cut of a wider clip, and draws what it sees, gives the clip's middle back."""

    class Mirror:
        framing = 1.0

        def identity(self, picture: np.ndarray, *, aligned: bool) -> object:
            return picture

        def stream(self, identity: object, driving: list[np.ndarray], *, aligned: bool) -> list[object]:
            return [type("Result", (), {"image": frame})() for frame in driving]

    model = ModelContestant("m", Mirror, fingerprint="", framing=1.25, size=64)  # type: ignore[arg-type]
    given = clip()
    out = model.run(clip(seed=1), given)
    inner = slice(10, 54)
    assert np.abs(out[:, inner, inner].astype(int) - given.frames[:, inner, inner]).max() <= 2
