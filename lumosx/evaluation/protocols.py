"""The two protocols and what each measures in the paper's two tasks. Their scores never meet in one table.

v1 is ours: several frames, one rule for misses, one colour order, no missing case dropped in silence. release is the
authors' evaluation bug for bug, for comparison with published numbers.
"""

from dataclasses import replace
from typing import Literal

from lumosx.evaluation.models import Models
from lumosx.evaluation.scores import Measure

Protocol = Literal["v1", "release"]
Task = Literal["identity", "subject"]

# Rises with whatever changes a score of the protocol; clips that an older one scored are scored anew.
MEASURE: dict[Protocol, int] = {"v1": 1, "release": 1}


def measures(protocol: Protocol, task: Task, models: Models) -> list[Measure]:
    """The measures of a task, in the order of their columns. Those whose model is not at hand give no metric.

    The identity task is about faces: beside them v1 only asks whether the video is of its prompt and like its truth.
    """
    if protocol == "release":
        from lumosx.evaluation.release.identity import ReleaseIdentity
        from lumosx.evaluation.release.subject import ReleaseSubject
        from lumosx.evaluation.release.whole import ReleaseWhole

        return [ReleaseIdentity(models)] if task == "identity" else [ReleaseWhole(models), ReleaseSubject(models)]
    from lumosx.evaluation.metrics.identity import IdentityMeasure
    from lumosx.evaluation.metrics.lettering import LetteringMeasure
    from lumosx.evaluation.metrics.owners import OwnersMeasure
    from lumosx.evaluation.metrics.subject import SubjectMeasure
    from lumosx.evaluation.metrics.temporal import TemporalMeasure
    from lumosx.evaluation.metrics.whole import WholeMeasure

    if task == "identity":
        return [IdentityMeasure(models), WholeMeasure(replace(models, flow=None))]
    kinds = (IdentityMeasure, SubjectMeasure, OwnersMeasure, WholeMeasure, TemporalMeasure, LetteringMeasure)
    return [measure(models) for measure in kinds]
