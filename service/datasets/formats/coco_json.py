"""What a file in COCO's format says: images, categories and annotations, each checked on its own.

The format: https://cocodataset.org/#format-data
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, StrictInt, StrictStr, ValidationError

from service.datasets.archive import Archive, Member, MemberFault
from service.datasets.formats.coco_shapes import Outline, Shape, ShapeFault, read_shape
from service.datasets.limits import ImportLimits
from service.errors import FieldError, Invalid

MAX_JSON = 64 << 20  # bytes; Python takes up to 25 times as much for it
MAX_FAULTS = 500  # that are listed
MAX_DRAWN = 20_000_000_000  # pixels: those of an image, times its annotations
KEYS = ("images", "categories", "annotations")
MAX_OUTLINES = 20_000_000  # pixels along the edges of all annotations of an image
FORMAT = "see cocodataset.org/#format-data"
Entry = TypeVar("Entry", bound=BaseModel)


class ImageEntry(BaseModel):
    """What is used of an entry of `images`."""

    id: StrictInt
    file_name: StrictStr = Field(min_length=1)
    width: Annotated[StrictInt, Field(ge=1)]
    height: Annotated[StrictInt, Field(ge=1)]


class CategoryEntry(BaseModel):
    """What is used of an entry of `categories`."""

    id: StrictInt
    name: StrictStr = Field(min_length=1, max_length=200)


class AnnotationEntry(BaseModel):
    """What is used of an entry of `annotations`; crowds are drawn as everything else."""

    id: StrictInt | StrictStr | None = None
    image_id: StrictInt
    category_id: StrictInt
    segmentation: Any = None


@dataclass(frozen=True)
class Instance:
    """Something in an image, and the class whose value it is drawn with."""

    annotation: str
    value: int
    shape: Shape


@dataclass(frozen=True)
class CocoImage:
    """An image as the file describes it; width and height in pixels."""

    id: int
    file_name: str
    width: int
    height: int
    instances: list[Instance] = field(default_factory=list)


class Description:
    """A file that was read: `images` by their ids, `classes` by their values; what is wrong is in `faults`.

    Args:
        file: its path in the archive, for messages.
        content: the JSON.
        limits: what is accepted.

    Raises:
        Invalid: it is not in COCO's format, or has more classes than are accepted.
    """

    def __init__(self, file: str, content: Any, limits: ImportLimits) -> None:
        self.file, self._limits = file, limits
        self.images: dict[int, CocoImage] = {}
        self.classes: dict[int, str] = {0: "background"}
        self._faults: list[FieldError] = []
        self._more = 0
        lists = {key: content.get(key) if isinstance(content, dict) else None for key in KEYS}
        missing = [key for key, entries in lists.items() if not isinstance(entries, list)]
        if missing:
            raise unusable(file, f"has no list of {', '.join(missing)}", FORMAT)
        images, categories, annotations = (lists[key] or [] for key in KEYS)
        values = self._categories(categories)
        ids = self._images(images)
        for number, entry in enumerate(annotations):
            self._annotation(number, entry, ids, values)
        for image in self.images.values():
            outlines = sum(one.shape.length for one in image.instances if isinstance(one.shape, Outline))
            if len(image.instances) * image.width * image.height > MAX_DRAWN or outlines > MAX_OUTLINES:
                reason = f"image {image.id}: has {len(image.instances)} annotations, too many for its size"
                self.refuse(reason, f"annotations times pixels may be {MAX_DRAWN}, and outlines {MAX_OUTLINES} pixels")

    @property
    def faults(self) -> list[FieldError]:
        """What is wrong; of very much, how much more."""
        more = FieldError(file=self.file, reason=f"faults that are not listed: {self._more}")
        return [*self._faults, more] if self._more else self._faults

    def refuse(self, reason: str, hint: str) -> None:
        """Note what is wrong, as long as anybody will read it."""
        if len(self._faults) < MAX_FAULTS:
            self._faults.append(FieldError(file=self.file, reason=reason[:500], hint=hint))
        else:
            self._more += 1

    def _categories(self, entries: list[Any]) -> dict[int, int]:
        """The value of each category: 1, 2, … in the order of the ids."""
        names: dict[int, str] = {}
        for number, entry in enumerate(entries):
            category = self._read(CategoryEntry, f"category {_id(entry, number)}", entry)
            if category and (category.id in names or category.name in names.values()):
                self.refuse(f"category {category.id}: has the id or name of another", "give each its own")
            elif category:
                names[category.id] = category.name
        if len(names) >= self._limits.max_classes:
            hint = f"at most {self._limits.max_classes - 1}, and the background, are accepted"
            raise unusable(self.file, f"has {len(names)} categories", hint)
        self.classes |= {value: names[key] for value, key in enumerate(sorted(names), start=1)}
        return {key: value for value, key in enumerate(sorted(names), start=1)}

    def _images(self, entries: list[Any]) -> set[int]:
        """All ids that images have, also those of images that cannot be used."""
        ids: set[int] = set()
        for number, entry in enumerate(entries):
            image = self._read(ImageEntry, f"image {_id(entry, number)}", entry)
            key = entry.get("id") if isinstance(entry, dict) else None
            if type(key) is not int:
                continue
            if key in ids:
                self.refuse(f"image {key}: has the id of another image", "give each its own")
            elif image and image.width * image.height > self._limits.max_pixels:
                reason = f"image {key}: has {image.width} x {image.height} pixels"
                self.refuse(reason, f"at most {self._limits.max_pixels} pixels are accepted")
            elif image:
                self.images[key] = CocoImage(image.id, image.file_name, image.width, image.height)
            ids.add(key)
        return ids

    def _annotation(self, number: int, entry: Any, ids: set[int], values: dict[int, int]) -> None:
        name = f"annotation {_id(entry, number)}"
        annotation = self._read(AnnotationEntry, name, entry)
        if annotation is None:
            return
        if annotation.image_id not in ids:
            self.refuse(f"{name}: is of image {annotation.image_id}, which is not in images", "add or remove it")
        if annotation.category_id not in values:
            self.refuse(f"{name}: is of category {annotation.category_id}, which is not in categories", "add it there")
        image = self.images.get(annotation.image_id)
        if image is None or annotation.category_id not in values:
            return
        try:
            shape = read_shape(annotation.segmentation, image.height, image.width)
        except ShapeFault as fault:
            self.refuse(f"{name}: {fault}", "export it again with polygons or masks (RLE)")
            return
        image.instances.append(Instance(name, values[annotation.category_id], shape))

    def _read(self, kind: type[Entry], name: str, entry: Any) -> Entry | None:
        try:
            return kind.model_validate(entry)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the whole"
            self.refuse(f"{name}: {where}: {first['msg']}", FORMAT)
            return None


def read_description(archive: Archive, member: Member, limits: ImportLimits, scratch: Path) -> Description:
    """Read the file; raises `Invalid` where it cannot be read or is not in COCO's format."""
    if member.info.file_size > MAX_JSON:
        raise unusable(
            member.path, f"has {member.info.file_size} bytes", f"at most {MAX_JSON} are read: split the dataset"
        )
    path = scratch / "description"
    try:
        size = archive.extract(member, path).size
        content = json.loads(path.read_bytes()) if size <= MAX_JSON else None
    except MemberFault as fault:
        raise unusable(member.path, fault.reason, fault.hint) from fault
    except (ValueError, RecursionError) as error:
        raise unusable(member.path, f"is not JSON: {error}", "export it again") from error
    return Description(member.path, content, limits)


def unusable(file: str, reason: str, hint: str) -> Invalid:
    """A refusal of the whole upload for its description."""
    fault = FieldError(file=file, reason=reason, hint=hint)
    return Invalid("The description of the dataset cannot be used.", [fault])


def _id(entry: Any, number: int) -> str:
    """What an entry calls itself, else its place in the list."""
    key = entry.get("id") if isinstance(entry, dict) else None
    return str(key)[:40] if isinstance(key, int | str) else f"at place {number}"
