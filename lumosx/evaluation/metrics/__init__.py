"""Protocol v1: what is measured of a clip, and what each measure is called.

| metric                    | range   | better | source              | its own model         | what a miss counts     |
|---------------------------|---------|--------|---------------------|-----------------------|------------------------|
| ArcSim, CurSim            | -1 to 1 | more   | paper, Section 4.1  | ArcFace, CurricularF. | 0: the look            |
| person_recall             | 0 to 1  | more   | ours                | any, of faces         | 0: the person          |
| person_precision          | 0 to 1  | more   | ours                | any, of faces         | -                      |
| extra_people              | from 0  | less   | ours                | any, of faces         | -                      |
| CLIP-T                    | -1 to 1 | more   | paper, Section 4.1  | CLIP                  | 0: the look            |
| CLIP-I, DINO-I            | -1 to 1 | more   | paper, Section 4.1  | CLIP, DINOv2          | 0: the look            |
| BindAcc                   | 0 to 1  | more   | ours                | any, of pictures      | not bound              |
| swap, leak, dominance     | 0 to 1  | less   | after MultiBind     | any, of pictures      | -: see drop, missing   |
| drop, missing             | 0 to 1  | less   | ours                | any, of pictures      | 1: the attribute       |
| duplicate                 | 0 to 1  | less   | ours                | any, of faces         | -                      |
| ViCLIP-T, ViCLIP-V        | -1 to 1 | more   | paper, Section 4    | VideoCLIP-XL          | -                      |
| dynamic_degree            | 0 or 1  | more   | VBench; the paper   | RAFT, raft-things.pth | -                      |
| dynamic_strength          | from 0  | more   | the motion behind   | RAFT, raft-things.pth | -                      |
| subject_consistency       | 0 to 1  | more   | VBench; paper, C.5  | DINO ViT-B/16         | -                      |
| background_consistency    | 0 to 1  | more   | VBench; paper, C.5  | CLIP ViT-B/32         | -                      |
| motion_smoothness         | 0 to 1  | more   | VBench; paper, C.5  | AMT-S                 | -                      |
| face_consistency          | -1 to 1 | more   | paper, C.5          | ArcFace               | 0: each pair of looks  |
| unasked_text              | 0 to 1  | less   | ours                | any, that reads       | -                      |

A metric of a model that is not at hand is not offered. One that a case has nothing for (no object, no ground truth,
frames too few) is not applicable, which is no miss. Ours are plain whatever model gave them: runs of different models
are not compared. Others are called `NAME[MODEL]` where another model than their own gave them (`named`), but

- ArcSim and the like, CLIP-I and the like: by what the profile calls that encoder, such as FaceSim-dlib and Colour-I.
- ViCLIP-T and -V, CLIP-T, consistencies of pictures: VideoSim-T and -V, WordSim, frame_consistency, and the model.

Each of these may have more than one value:

- `NAME|seen`, of ArcSim and the like, CLIP-T and the like, BindAcc: the same without the misses.
- `NAME:attributes`, `NAME:objects`, `NAME:background`, of CLIP-T and the like: the same of one kind.
"""

SEEN = "|seen"  # ends the name of a mean over what was seen alone


def named(metric: str, model: str, own: str, otherwise: str | None = None) -> str:
    """What a metric is called when a model gave it: plain numbers are compared with published ones.

    `metric` if the model is the one that its source measures with: its name starts with `own`, so VideoCLIP-XL-v2 is
    VideoCLIP-XL, and which weights they were is on the run's card. Else the same, or `otherwise`, with the model in
    brackets: "motion_smoothness[DIS]". An encoder of faces or pictures goes by its name in `Models`, any other model
    by its card's.
    """
    return metric if model.startswith(own) else f"{otherwise or metric}[{model}]"
