"""The models that curation can ask, and profiles of `configs/curate` that choose."""

from dataclasses import dataclass, field
from typing import Any

from lumosx.vision import yolo
from lumosx.vision.registry import Entry, Registry, hub

FLUX = "FLUX.1 [dev] Non-Commercial License"
SIDECAR = "the folder with NAME.txt (what is seen) and NAME.json (its entities) for each video's NAME"
INSIGHTFACE = "non-commercial research only (InsightFace's)"

MODELS: dict[str, Entry] = {
    "rapidocr": Entry(("reader",), "vision.lettering.RapidOcr"),
    "dis": Entry(("flow",), "vision.motion.DisFlow", options={"preset": "fast"}),
    "raft": Entry(("flow",), "vision.motion.RaftFlow", ""),
    "sharpness": Entry(("scorer",), "vision.rules.Sharpness"),
    "q-align": Entry(("scorer",), "vision.scoring.QAlign", "", wants="the URL of scripts/q_align_server.py"),
    "rtdetr": hub("people", "vision.detection.RtDetrPeople", "PekingU/rtdetr_v2_r50vd"),
    "yolo": Entry(("people",), "vision.yolo.YoloPeople", "", restricted=yolo.LICENCE),
    "people-by-faces": Entry(("people",), "vision.rules.PeopleByFaces"),
    "layout": Entry(("embedder",), "vision.rules.Layout"),
    "xclip": hub("embedder", "vision.videos.XClip", "microsoft/xclip-base-patch32"),
    "videoclip-xl": hub(
        "embedder",
        "vision.videos.VideoClipXL",
        "alibaba-pai/VideoCLIP-XL-v2",
        options={"trust_code": True},
        restricted="CC-BY-NC-SA-4.0; runs the Python code of its repository",
    ),
    "qwen3-vl": hub("captioner tagger scorer", "vision.talk.QwenVl", "Qwen/Qwen3-VL-8B-Instruct"),
    "qwen2.5-vl": hub("captioner tagger scorer", "vision.talk.QwenVl", "Qwen/Qwen2.5-VL-32B-Instruct"),
    "server": Entry(
        ("captioner", "tagger"), "vision.server.ChatServer", "", hub=True, told=False, wants="its URL (URL@MODEL)"
    ),
    "sidecar": Entry(("captioner", "tagger"), "vision.sidecar.Sidecar", "", wants=SIDECAR),
    "dlib-hog": Entry(("faces",), "vision.faces.DlibFaces"),
    "dlib-mmod": Entry(("faces",), "vision.faces.DlibFaces", options={"mmod": True}),
    "scrfd": Entry(("faces",), "vision.scrfd.ScrfdFaces", "", restricted=INSIGHTFACE),
    "dlib-resnet": Entry(("identities",), "vision.faces.DlibEncoder"),
    "arcface-r100": Entry(
        ("identities",),
        "vision.faces.OnnxFaceEncoder",
        weights="",
        options={"name": "ArcFace r100 (glint360k)", "licence": INSIGHTFACE},
        restricted=INSIGHTFACE,
    ),
    "regions": Entry(("phrases",), "vision.rules.Regions"),
    "owlv2": hub("phrases", "vision.detection.OwlDetector", "google/owlv2-base-patch16-ensemble"),
    "grounding-dino": hub("phrases", "vision.detection.GroundingDino", "IDEA-Research/grounding-dino-base"),
    "sam": hub("segmenter", "vision.segmentation.SamSegmenter", "facebook/sam-vit-huge"),
    "sam2": hub("segmenter", "vision.segmentation.Sam2Segmenter", "facebook/sam2.1-hiera-large"),
    "grabcut": Entry(("segmenter",), "vision.segmentation.GrabCut"),
    "flux-fill": hub("inpainter", "vision.inpainting.FluxFill", "black-forest-labs/FLUX.1-Fill-dev", restricted=FLUX),
    "z-image": hub("inpainter", "vision.inpainting.ZImageInpaint", "Tongyi-MAI/Z-Image-Turbo"),
    "telea": Entry(("inpainter",), "vision.inpainting.Telea"),
    "drawn-people": Entry(("people",), "vision.drawn.DrawnPeople"),
    "drawn-faces": Entry(("faces",), "vision.drawn.DrawnFaces"),
    "drawn-identity": Entry(("identities",), "vision.drawn.DrawnIdentity"),
    "drawn-phrases": Entry(("phrases",), "vision.drawn.DrawnPhrases"),
    "drawn-segmenter": Entry(("segmenter",), "vision.drawn.DrawnSegmenter"),
    "drawn-talker": Entry(("captioner", "tagger"), "vision.drawn.DrawnTalker"),
}


@dataclass
class Profile:
    """Which model has which role, as NAME[:WEIGHTS[@REVISION]]; None: the stages that ask it are left out."""

    reader: str | None = None  # of lettering
    flow: str | None = None
    scorer: str | None = None  # of quality and aesthetics
    people: str | None = None
    embedder: str | None = None  # of clips, for near-duplicates
    captioner: str | None = None
    tagger: str | None = None  # of entity words and their owners
    faces: str | None = None
    identities: str | None = None
    phrases: str | None = None  # finds what words name
    segmenter: str | None = None
    inpainter: str | None = None
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)  # of stages, by name


REGISTRY = Registry(
    MODELS, Profile, "curate", needed=("reader", "flow", "people", "captioner", "tagger"), others=("settings",)
)
