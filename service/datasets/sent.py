"""What the archive of a correction holds: masks of samples that are there, and new samples."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePosixPath

from service.datasets.archive import Archive
from service.datasets.checked import Findings
from service.datasets.folders import EXPECTED
from service.datasets.formats.sources import Source
from service.datasets.kinds import ENDINGS, NAMED, Media
from service.datasets.pairs import Half, Pair, add_channels, pair_up, split_channel, split_ending

LABELS = ("masks", "labelsTr")  # the latter is nnU-Net's, in which an export of its masks comes
FOLDERS = ("images", *LABELS)


@dataclass(frozen=True)
class Sent:
    """The files of an archive by what they are.

    Attributes:
        masks: by the names of the samples that they are of.
        pairs: new samples.
    """

    masks: dict[str, Source]
    pairs: list[Pair]


@dataclass(frozen=True)
class Expected:
    """What the files must fit.

    Attributes:
        media: what the files of the dataset are.
        names: of its channels.
        files: how many files hold the image of a sample.
        samples: the names of those that are there.
    """

    media: Media
    names: list[str]
    files: int
    samples: Collection[str]


def read_sent(archive: Archive, expected: Expected, found: Findings) -> Sent:
    """Tell the files apart; whatever is wrong with names and places goes to `found`, file by file."""
    channels, masks = [Half("image") for _ in range(expected.files)], Half("mask")
    top = _top(archive)
    for member in archive.members:
        path = PurePosixPath(member.path.removeprefix(top))
        name, ending = split_ending(path)
        if len(path.parts) != 2 or path.parts[0] not in FOLDERS:
            hint = "masks of samples that are there go into masks/, new samples into images/ and masks/"
            found.refuse(member.path, "is not directly in images/ or masks/", hint)
        elif ending not in ENDINGS[expected.media]:
            what = NAMED[expected.media]
            reason = f"is not {what} by its name ({ending or 'no ending'})"
            found.refuse(member.path, reason, f"the dataset holds {what}: convert it")
        elif path.parts[0] in LABELS:
            masks.add(member, name)
        elif expected.files == 1:
            channels[0].add(member, name)
        elif (place := split_channel(name)) and place[1] < expected.files:
            channels[place[1]].add(member, place[0])
        else:
            listed = ", ".join(expected.names)
            hint = f"call it <sample>_0000{ending} to <sample>_{expected.files - 1:04}{ending}"
            found.refuse(member.path, f"names none of the channels 0 to {expected.files - 1} ({listed})", hint)
    images = channels[0]
    for half in channels:
        for name in sorted(half.files.keys() & set(expected.samples)):
            hint = "send its mask alone to correct it; for another image exclude it, and add it in the version after"
            half.refuse(half.files.pop(name), f"is of the sample {name!r}, which is there already", hint)
    own = {name: masks.files.pop(name) for name in sorted(masks.files.keys() & set(expected.samples))}
    for name in sorted(masks.files.keys() - {name for half in channels for name in half.files}):
        hint = "name it as its sample; a new sample comes with its image, in images/"
        masks.refuse(masks.files.pop(name), f"is of no sample: the version has none named {name!r}", hint)
    pairs, faults = pair_up(images, masks, EXPECTED[expected.media])
    ending = ".nii.gz" if expected.media is Media.VOLUME else ".png"
    pairs, more = add_channels(pairs, channels[1:], expected.names, f"images/{{case}}_{{channel:04}}{ending}")
    found.faults += faults + more
    return Sent(own, pairs)


def _top(archive: Archive) -> str:
    """The folder that holds everything, if it is not one of the two itself."""
    first = {member.path.partition("/")[0] for member in archive.members}
    return f"{first.pop()}/" if len(first) == 1 and not first & set(FOLDERS) else ""
