"""A model tried on the page of its job, in a real browser."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from service.api.dependencies import Context
from tests.browser.reviewing import serious
from tests.served_models import exported, serve
from workers.contract.inference import open_volume
from workers.export.comparison import by_network
from workers.export.workplace import Workplace
from workers.predict import load_model

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A model of RGB images."""
    return exported(tmp_path_factory.mktemp("model"), "images")


@pytest.fixture
def job(context: Context, finish_job: Callable[..., str], workplace: Workplace) -> str:
    """Id of its job."""
    return serve(context, finish_job, workplace)


def drawn(page: Page) -> np.ndarray:
    """What is on the canvas, (H, W, 4)."""
    script = """canvas => [canvas.height, canvas.width,
        ...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]"""
    height, width, *values = page.locator("#try-picture").evaluate(script)
    return np.array(values, dtype=np.uint8).reshape(height, width, 4)


def test_an_image_s_mask_is_drawn_over_it(
    sign_in: Callable[..., Page], url: str, job: str, workplace: Workplace, tmp_path: Path
) -> None:
    page = sign_in(color_scheme="dark", bypass_csp=True)  # axe is a script of ours, put into the page
    page.goto(f"{url}/jobs/{job}")
    file = workplace.cases()[1][0]
    page.get_by_label("Choose a file").set_input_files(file)
    expect(page.locator("#try-status")).to_contain_text("the mask is there")
    with page.expect_download() as saved:
        page.get_by_role("link", name="Save the mask").click()
    mask = np.asarray(Image.open(io.BytesIO(Path(saved.value.path()).read_bytes())))
    image = np.asarray(Image.open(file))
    over = drawn(page)
    assert over.shape[:2] == mask.shape == image.shape[:2]
    np.testing.assert_array_equal(over[mask == 0][:, :3], image[mask == 0])
    assert (over[mask > 0][:, :3] != image[mask > 0]).any(axis=1).mean() > 0.99
    expect(page.locator("#try-classes")).to_have_text(f" value 255: {100 * (mask > 0).mean():.1f} % of the pixels ")
    assert serious(page) == []
    page.get_by_label("Show the mask").uncheck()
    np.testing.assert_array_equal(drawn(page)[..., :3], image)
    broken = tmp_path / "broken.png"
    broken.write_bytes(file.read_bytes()[:3000])
    page.get_by_label("Choose a file").set_input_files(broken)
    expect(page.locator("#try-problem")).to_contain_text("cannot be decoded")
    expect(page.locator("#try-answer")).to_be_hidden()


def test_the_page_of_a_model_without_onnx_does_not_offer_it(page: Page, url: str, finished_job: str) -> None:
    page.goto(f"{url}/jobs/{finished_job}")
    expect(page.locator("#samples")).to_be_visible()
    expect(page.locator("#try")).to_have_count(0)


@pytest.fixture(scope="module")
def of_volumes(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A model of volumes of one channel."""
    return exported(tmp_path_factory.mktemp("model"), "volumes")


def test_a_volume_s_mask_is_saved_on_the_volume_s_own_grid(
    sign_in: Callable[..., Page], url: str, context: Context, finish_job: Callable[..., str], of_volumes: Workplace
) -> None:
    page = sign_in()
    page.goto(f"{url}/jobs/{serve(context, finish_job, of_volumes)}")
    file = of_volumes.cases()[0][0]
    page.get_by_label("Choose a file").set_input_files(file)
    expect(page.locator("#try-status")).to_contain_text("the mask is there", timeout=60_000)
    expect(page.locator("#try-picture")).to_be_hidden()
    with page.expect_download() as saved:
        page.get_by_role("link", name="Save the mask").click()
    assert saved.value.suggested_filename.endswith("-mask.nii.gz")
    mask, volume = open_volume(Path(saved.value.path()).read_bytes()), nib.load(file)
    assert mask.shape == volume.shape
    np.testing.assert_allclose(mask.affine, volume.affine)
    network = load_model(of_volumes.root)[0]
    expected = open_volume(by_network(of_volumes.about(), network)([file]).encoded).dataobj
    assert (np.asanyarray(mask.dataobj) != np.asanyarray(expected)).mean() < 1e-4
