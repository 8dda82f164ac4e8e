"""What the workers promise to those who cannot import them."""

import dataclasses
import json
from importlib import resources
from typing import Any, get_args

import pytest

import dale
from workers.contract.request import DaleMethod, JobSpec, NetworkSpec
from workers.network import NETWORKS, NetworkRefused, arguments_of, catalogue, check_network, main


def test_the_jobs_hyperparameters_are_the_methods() -> None:
    posted = {name: field.default for name, field in DaleMethod.model_fields.items() if name != "name"}
    assert posted == {field.name: field.default for field in dataclasses.fields(dale.DaleConfig)}


def test_jobs_and_method_know_the_same_choices() -> None:
    assert get_args(DaleMethod.model_fields["alignment"].annotation) == dale.config.ALIGNMENTS
    assert set(get_args(JobSpec.model_fields["augmentation"].annotation)) == set(dale.views.AUGMENTATIONS)


@pytest.mark.parametrize(("name", "value"), [("augmentation", "none"), ("precision", "float16")])
def test_an_unknown_choice_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        JobSpec.model_validate({"dataset_id": "ds-1", name: value})


def test_the_catalogue_is_current() -> None:
    kept = json.loads(resources.files("workers.contract").joinpath("networks.json").read_text())
    assert kept == json.loads(json.dumps(catalogue())), "run: python -m workers.network --catalogue"


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_of_the_catalogue_trains_with_its_defaults(name: str) -> None:
    required = [argument for argument, told in arguments_of(name).items() if told["required"]]
    assert required == []
    check_network(NetworkSpec(name=name), channels=3, classes=3, image_size=64)


@pytest.mark.parametrize(
    ("spec", "image_size", "reason"),
    [
        (NetworkSpec(name="DenseNet121"), 64, "there is no network 'DenseNet121'"),
        (NetworkSpec(arguments={"chanels": [8, 16]}), 64, "takes no argument chanels"),
        (NetworkSpec(arguments={"channels": [8]}), 64, "cannot be built"),
        (NetworkSpec(), 50, "does not accept images of 50 x 50 pixels"),
        (NetworkSpec(name="FlexibleUNet", arguments={"pretrained": True}), 64, "takes no argument pretrained"),
        (NetworkSpec(name="DynUNet", arguments={"deep_supervision": True}), 64, "answers with"),
    ],
)
def test_impossible_networks_are_refused_with_the_reason(spec: NetworkSpec, image_size: int, reason: str) -> None:
    with pytest.raises(NetworkRefused, match=reason):
        check_network(spec, channels=3, classes=2, image_size=image_size)


def test_the_check_speaks_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import io

    asked = {"network": {"name": "UNet", "arguments": {"channels": [8]}}, "image_size": 64, "channels": 3, "classes": 2}
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(asked)))
    assert main(["--check"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False
    assert "cannot be built" in answer["reason"]


def test_a_batch_smaller_than_the_workers_is_refused() -> None:
    with pytest.raises(ValueError, match="each worker needs at least one sample"):
        JobSpec(dataset_id="ds-1", batch_size=2, workers=3)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_trains_on_patches_or_is_refused_in_words(name: str) -> None:
    def check(size: int) -> dict[str, Any]:
        return check_network(NetworkSpec(name=name), channels=1, classes=3, image_size=size, spatial_dims=3)

    default = JobSpec.model_fields["patch_size"].default
    if name == "SwinUNETR":  # halves a patch five times, and a single voxel cannot be normalised
        with pytest.raises(
            NetworkRefused, match=f"does not accept patches of {default} x {default} x {default} voxels"
        ):
            check(default)
        default = 64
    arguments = check(default)
    assert (arguments["in_channels"], arguments.get("spatial_dims", 3)) == (1, 3)
