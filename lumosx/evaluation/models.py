"""The models of a benchmark run: what each is asked, which there are, and profiles of `configs/bench` that choose."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lumosx.vision import (
    FaceDetector,
    FaceEncoder,
    Flow,
    Interpolator,
    ModelCard,
    PersonDetector,
    PhraseDetector,
    PictureEncoder,
    TextPictureEncoder,
    TextReader,
    VideoEncoder,
    yolo,
)
from lumosx.vision.registry import Entry, Registry, hub


@dataclass(frozen=True)
class Models:
    """The models of one benchmark run, by what they are asked. None: not at hand, so what needs it is not measured.

    `identities`: by the name of the metric that each gives, such as ArcSim; the first one assigns people. `likenesses`:
    the same for pictures, such as CLIP-I and DINO-I.
    """

    faces: FaceDetector
    identities: Mapping[str, FaceEncoder]
    people: PersonDetector | None = None
    phrases: PhraseDetector | None = None
    subjects: PhraseDetector | None = None  # finds a person by a description; the release's Florence-2
    likenesses: Mapping[str, PictureEncoder] = field(default_factory=dict)
    words: TextPictureEncoder | None = None
    videos: VideoEncoder | None = None
    flow: Flow | None = None
    interpolator: Interpolator | None = None
    reader: TextReader | None = None

    def cards(self) -> dict[str, ModelCard]:
        """Card by role."""
        found: dict[str, ModelCard] = {}
        for role, value in vars(self).items():
            named = value.items() if isinstance(value, Mapping) else [(None, value)]
            for name, model in named:
                if model is not None:
                    found[role if name is None else f"{role}.{name}"] = model.card
        return found


def _arcface(name: str, licence: str, metric: str) -> Entry:
    options = {"name": name, "licence": licence}
    return Entry(
        ("identities",), "vision.faces.OnnxFaceEncoder", "", options=options, restricted=licence, metric=metric
    )


MODELS: dict[str, Entry] = {
    "dlib-hog": Entry(("faces",), "vision.faces.DlibFaces"),
    "dlib-mmod": Entry(("faces",), "vision.faces.DlibFaces", options={"mmod": True}),
    "scrfd": Entry(
        ("faces",), "vision.scrfd.ScrfdFaces", "", restricted="non-commercial research only (InsightFace's)"
    ),
    "dlib-resnet": Entry(("identities",), "vision.faces.DlibEncoder", metric="FaceSim-dlib"),
    "arcface-r100": _arcface("ArcFace r100 (glint360k)", "non-commercial research only (InsightFace's)", "ArcSim"),
    "curricularface": _arcface("CurricularFace IR-101", "non-commercial research only", "CurSim"),
    "rtdetr": hub("people", "vision.detection.RtDetrPeople", "PekingU/rtdetr_v2_r50vd"),
    "yolo": Entry(("people",), "vision.yolo.YoloPeople", "", restricted=yolo.LICENCE),
    "regions": Entry(("phrases",), "vision.rules.Regions"),
    "owlv2": hub("phrases", "vision.detection.OwlDetector", "google/owlv2-base-patch16-ensemble"),
    "florence2": hub("phrases subjects", "vision.detection.FlorenceDetector", "florence-community/Florence-2-large-ft"),
    "colours": Entry(("likenesses",), "vision.rules.Colours", metric="Colour-I"),
    "clip": hub("likenesses words", "vision.pictures.ClipEncoder", "openai/clip-vit-large-patch14", metric="CLIP-I"),
    "dinov2": hub("likenesses", "vision.pictures.DinoEncoder", "facebook/dinov2-base", metric="DINO-I"),
    "xclip": hub("videos", "vision.videos.XClip", "microsoft/xclip-base-patch32"),
    "videoclip-xl": hub(
        "videos",
        "vision.videos.VideoClipXL",
        "alibaba-pai/VideoCLIP-XL-v2",
        options={"trust_code": True},
        restricted="CC-BY-NC-SA-4.0; runs the Python code of its repository",
    ),
    "dis": Entry(("flow", "interpolator"), "vision.motion.DisFlow"),
    "raft": Entry(("flow", "interpolator"), "vision.motion.RaftFlow", ""),
    "rapidocr": Entry(("reader",), "vision.lettering.RapidOcr"),
}


@dataclass
class Profile:
    """Which model has which role of `Models`, as NAME[:WEIGHTS[@REVISION]]; None: the role is not filled."""

    faces: str | None = None
    identities: dict[str, str] = field(default_factory=dict)  # by metric; the first assigns people
    people: str | None = None
    phrases: str | None = None
    subjects: str | None = None
    likenesses: dict[str, str] = field(default_factory=dict)  # by metric
    words: str | None = None
    videos: str | None = None
    flow: str | None = None
    interpolator: str | None = None  # a model of flow
    reader: str | None = None


_REGISTRY = Registry(MODELS, Profile, "bench", named=("identities", "likenesses"), needed=("faces", "identities"))


def load_profile(name: str, overrides: Iterable[str] = ()) -> Profile:
    """A profile of `configs/bench`, or of a YAML file of one's own (`Registry.load_profile`)."""
    return _REGISTRY.load_profile(name, overrides)


def load_models(profile: Profile, allow: Collection[str] = (), device: str = "cpu") -> Models:
    """Makes the models of a profile; arguments and errors as of `Registry.make`."""
    roles: dict[str, Any] = {role: {} for role in _REGISTRY.named}
    for place, model in _REGISTRY.make(profile, allow, device).items():
        role, _, metric = place.partition(".")
        if metric:
            roles[role][metric] = model
        else:
            roles[role] = model
    if "interpolator" in roles:
        from lumosx.vision.motion import FlowInterpolator

        roles["interpolator"] = FlowInterpolator(roles["interpolator"])
    return Models(**roles)
