"""DALE: training lesion segmentation on labels of uneven quality, in pure PyTorch."""

from dale.alternating import Step, begin, confidence_step, listening, mixing_share, network_step, strength
from dale.confidence import ConfidenceState, closed_form_confidence
from dale.config import DaleConfig
from dale.consistency import doubt, doubt_map, expected_dice, size_excess, soft_dice, worst_doubt
from dale.head import initialise_head
from dale.mixing import Mixing, draw_mixing
from dale.objective import consistency_loss, dice_loss, segmentation_loss
from dale.partition import Partition, histogram, split
from dale.refinement import refine
from dale.student import Answer, Student
from dale.teacher import make_teacher
from dale.training import Dale
from dale.trusted import Hints
from dale.views import Views, random_views, warp

__all__ = [
    "Answer",
    "ConfidenceState",
    "Dale",
    "DaleConfig",
    "Hints",
    "Mixing",
    "Partition",
    "Step",
    "Student",
    "Views",
    "begin",
    "closed_form_confidence",
    "confidence_step",
    "consistency_loss",
    "dice_loss",
    "doubt",
    "doubt_map",
    "draw_mixing",
    "expected_dice",
    "histogram",
    "initialise_head",
    "listening",
    "make_teacher",
    "mixing_share",
    "network_step",
    "random_views",
    "refine",
    "segmentation_loss",
    "size_excess",
    "soft_dice",
    "split",
    "strength",
    "warp",
    "worst_doubt",
]
