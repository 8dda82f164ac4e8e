"""The model card: what whoever thinks of using a model should know, in sections that become Markdown or HTML.

After Mitchell et al., "Model Cards for Model Reporting", FAT* 2019. Everything but the intended use is taken from what
the service has recorded; what is not known is said to be not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from service.datasets.rows import channel_names
from service.db.model_facts import DOUBTED, DataFacts, NoiseFacts
from service.db.tables import Artifact, DatasetVersion, Job, TrainedModel
from service.resources.lineage import Lineage
from workers.contract.evaluation import Evaluation, MetricName

NAMES: dict[MetricName, str] = {"dice": "Dice", "iou": "IoU", "precision": "Precision", "recall": "Recall"}
FEW = 30  # held-out samples below which a mean says little
NOT_STATED = (
    "Nobody has stated what this model is for. Until somebody does, take it for what training made of it: an attempt, "
    "for research, which nobody has examined for use on patients."
)


@dataclass(frozen=True)
class Section:
    """A part of the card: paragraphs, then a table (its first row is the head), then code."""

    title: str
    words: Sequence[str] = ()
    table: Sequence[Sequence[str]] = ()
    code: str = ""


@dataclass(frozen=True)
class Known:
    """All that a card is made of.

    Attributes:
        job, model: the model and its job.
        version: of the dataset.
        lineage: what it came from.
        files: of the model.
        data, noise: counts.
        held_out: on how many samples it was tested.
        interval: 95 % bootstrap interval of the mean Dice on these; (None, None): of less than two.
        evaluation: all metrics on these, with intervals over groups; None: of a job that did not say them.
    """

    job: Job
    model: TrainedModel
    version: DatasetVersion
    lineage: Lineage
    files: Sequence[Artifact]
    data: DataFacts
    noise: NoiseFacts
    held_out: int
    interval: tuple[float | None, float | None] = field(default=(None, None))
    evaluation: Evaluation | None = None


def title(known: Known) -> str:
    """What the model is called."""
    return f"{known.model.series}, version {known.model.number}"


def sections(known: Known) -> list[Section]:
    """The card, part by part."""
    return [
        _use(known),
        _model(known),
        _data(known),
        _metrics(known),
        *([_held_out(known.evaluation)] if known.evaluation else []),
        _noise(known),
        _limits(known),
        _loading(known),
        _files(known),
    ]


def _use(known: Known) -> Section:
    stated = [part.strip() for part in known.model.intended_use.split("\n\n") if part.strip()]
    described = [part.strip() for part in known.model.description.split("\n\n") if part.strip()]
    return Section("Intended use", [*(stated or [NOT_STATED]), *described])


def _model(known: Known) -> Section:
    spec, lineage = known.lineage.config, known.lineage
    volume = known.version.spatial_dims == 3
    size = (
        f"patches of {spec.patch_size} voxels" if volume else f"images of {spec.image_size} x {spec.image_size} pixels"
    )
    believed = "doubts labels (DALE)" if spec.method.name == "dale" else "believes every label (plain)"
    rows = [
        ("Network", f"{spec.network.name} (MONAI), {known.version.spatial_dims}D"),
        ("Sees", f"{size}, channels {', '.join(channel_names(known.version))}"),
        ("Answers", f"{len(known.version.mask_values)} classes, the background included"),
        ("Training", f"{spec.epochs} epochs, {believed}, seed {spec.seed}"),
        ("Stage", known.model.stage),
        ("Job", known.job.id),
        ("Finished", known.job.finished_at.strftime("%Y-%m-%d %H:%M UTC") if known.job.finished_at else "not known"),
        ("Code", _code(lineage)),
    ]
    rows.insert(4, ("Weights", _weights(known)))
    if lineage.warm_start:
        names = [one.id if one.deleted else f"{one.name} {one.version} ({one.id})" for one in lineage.warm_start]
        rows.append(("Started from", ", before it ".join(names)))
    return Section("Model", table=[("", ""), *rows])


def _weights(known: Known) -> str:
    """Which weights were delivered, and how they were chosen."""
    kept = {one["kind"]: one for one in known.job.checkpoints or ()}
    best, last = kept.get("best"), kept.get("last")
    if best is None or last is None:
        return "those at the end of training"
    count = known.lineage.data.validation
    chosen = (
        f"of epoch {best['epoch'] + 1}, which had the highest mean Dice ({best['validation_dice']:.3f}) on "
        f"{count} validation samples: as the highest of several it flatters"
    )
    told = "" if last["validation_dice"] is None else f" ({last['validation_dice']:.3f} on {count} validation samples)"
    if known.lineage.config.deliver == "best":
        return f"{chosen}; those at the end of training{told} are beside them"
    return f"those at the end of training{told}; beside them those {chosen}"


def _code(lineage: Lineage) -> str:
    if lineage.code is None:
        return "not recorded"
    commit = f", commit {lineage.code.commit}" if lineage.code.commit else ", not under git"
    return f"dale-service {lineage.code.version}{commit}"


def _data(known: Known) -> Section:
    data, lineage = known.data, known.lineage.data
    rows = [
        ("Dataset", f"{lineage.name}, {_version(known)} ({lineage.dataset_id})"),
        ("Trained on", f"{lineage.train} samples"),
        ("For validation", f"{lineage.validation} samples" if lineage.validation else "none"),
        ("Held out", f"{lineage.test} samples" if lineage.test else "none"),
        ("Classes", ", ".join(f"{value} (class {place})" for place, value in enumerate(known.version.mask_values))),
        ("Sizes", " x ".join(_between(low, high) for low, high in data.sizes) or "not known"),
        ("Without any lesion", f"{data.empty} labels"),
        ("Annotators", str(data.annotators) if data.annotators else "not known"),
        ("Groups, such as patients", f"{data.groups}, none in both parts" if data.groups else "not known"),
        ("Verified before the upload", f"{data.verified} labels"),
        ("SHA-256 of the version", lineage.sha256 or "not recorded"),
    ]
    if known.version.spatial_dims == 3:
        spacing = f"{_between(*data.spacing)} mm, {data.spacings} different" if data.spacing else "not known"
        rows.insert(5, ("Spacing", spacing))
    return Section("Data", table=[("", ""), *rows])


def _version(known: Known) -> str:
    derived = known.version.derived
    if derived is None:
        return f"version {known.version.number}"
    return f"version {derived['version']} without fold {derived['fold']} of {derived['folds']}, which is held out"


def _between(low: float, high: float) -> str:
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _metrics(known: Known) -> Section:
    metrics = known.job.metrics or {}
    words = []
    if known.held_out and "test_dice" in metrics:
        spread = f", ± {metrics['test_dice_std']:.3f} over the samples" if "test_dice_std" in metrics else ""
        dice = known.evaluation.overall("dice") if known.evaluation else None
        low, high = (dice.low, dice.high) if dice else known.interval
        sure = f"; 95 % bootstrap interval of the mean {low:.3f} to {high:.3f}" if low is not None else ""
        words = [f"Mean Dice {metrics['test_dice']:.3f} on {known.held_out} held-out samples{spread}{sure}."]
    else:
        words = ["No samples were held out: how well it does on images that it has not seen is not known."]
    words.append(
        "All that was recorded at the end; what begins with test_ is of held-out samples, the rest of training:"
    )
    numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
    return Section(
        "Metrics", words, [("Metric", "Value"), *((name, f"{value:.4g}") for name, value in numbers.items())]
    )


def _held_out(found: Evaluation) -> Section:
    of = f"{found.samples} held-out samples" + (f" of {found.groups} groups" if found.groups != found.samples else "")
    words = [
        f"On {of}. Intervals are those of the mean, at {found.level:.0%}, by a bootstrap that draws whole groups "
        f"({found.resamples} times): how far it might be another with others of the same kind. Undefined values are in "
        "no number."
    ]
    head = ("Metric", "Class", "Mean", "Interval", "Median", "Std", "Samples", "Undefined")
    rows = [
        (
            f"HD95 ({found.hd95_unit})" if one.metric == "hd95" else NAMES[one.metric],
            "mean of all" if one.label_class is None else str(one.label_class),
            _number(one.mean),
            f"{one.low:.3f} to {one.high:.3f}" if one.low is not None and one.high is not None else "",
            _number(one.median),
            _number(one.std),
            str(one.samples),
            str(one.undefined),
        )
        for one in found.metrics
    ]
    words += [
        f"Calibration of class {one.label_class}: expected error {one.ece:.4f}, Brier score {one.brier:.4f}, over "
        f"{one.pixels} pixels."
        for one in found.calibration
    ]
    return Section("Metrics on held-out samples", words, [head, *rows])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _noise(known: Known) -> Section:
    noise = known.noise
    if not noise.judged:
        return Section("Noise found in the labels", ["No label was judged."])
    share = noise.doubted / noise.judged
    words = [
        f"{noise.doubted} of {noise.judged} labels ({share:.1%}) have a confidence below {DOUBTED}: they are more "
        "doubted than believed."
    ]
    if known.lineage.config.method.name == "plain":
        words.append("Training believed every label all the same.")
    decided = sum(noise.decisions.values())
    words.append(
        f"People decided about {decided} of these labels so far." if decided else "Nobody has looked at them so far."
    )
    rows = [("doubted because", kind.replace("_", " "), number) for kind, number in sorted(noise.reasons.items())]
    rows += [("decided", decision, number) for decision, number in sorted(noise.decisions.items())]
    table = [("", "Kind", "Labels"), *((what, kind, str(number)) for what, kind, number in rows)]
    return Section("Noise found in the labels", words, table if rows else ())


def _limits(known: Known) -> Section:
    data, held_out = known.data, known.held_out
    volume = known.version.spatial_dims == 3
    words = []
    if not held_out:
        words.append("It was tested on nothing.")
    else:
        words.append(
            f"It was tested on {held_out} held-out samples of the same dataset only: nothing is known of other places, "
            "devices or populations."
        )
        if held_out < FEW:
            words.append(f"{held_out} samples are few: the mean says little.")
        if data.test_reviewed < held_out:
            words.append(
                f"Of {held_out - data.test_reviewed} held-out labels nobody here has said that they are right; the "
                "metrics are no better than the labels."
            )
        if not data.groups:
            words.append(
                "Groups, such as patients, are not known: held-out samples may be of patients it was trained on."
            )
    sizes = " x ".join(_between(low, high) for low, high in data.sizes)
    what = "Volumes" if volume else "Images"
    words.append(f"{what} of other sizes than {sizes} {'voxels' if volume else 'pixels'} were not seen.")
    if volume and data.spacing:
        words.append(f"Spacings outside {_between(*data.spacing)} mm were not seen.")
    words.append("The modality and where the images come from are not recorded, unless the intended use says it.")
    if known.lineage.warm_start:
        words.append(
            "It started from an earlier model: what that one was trained on may include samples that are held out here."
        )
    words.append("No weights were chosen by the held-out samples.")
    return Section("Limits", words)


def _loading(known: Known) -> Section:
    names = {file.name for file in known.files}
    words = [f"dale fetch {known.job.id} model gets every file and checks it."]
    if "model.safetensors" not in names or known.version.spatial_dims == 3:
        return Section("Loading it", words)
    code = """import json, monai
from safetensors.torch import load_file

about = json.load(open("model/model.json"))
network = getattr(monai.networks.nets, about["network"]["name"])(**about["network"]["arguments"])
network.load_state_dict(load_file("model/model.safetensors"))"""
    return Section("Loading it", words, code=code)


def _files(known: Known) -> Section:
    rows = [(file.name, f"{file.size} bytes", file.sha256) for file in known.files]
    if not rows:
        return Section("Files", ["There are none."])
    return Section("Files", table=[("File", "Size", "SHA-256"), *rows])
