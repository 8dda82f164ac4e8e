"""Painting on a volume in a real browser: over slices and planes, undone, saved at once; read again by nibabel."""

from __future__ import annotations

import gzip
import re
from types import ModuleType
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import Page, expect

from service.api.dependencies import Context
from tests.browser.reviewing import serious, shows
from tests.volume_jobs import EDGE, finish_job, upload_volumes, volume_files

pytestmark = pytest.mark.real
SAMPLE = "case_000"


@pytest.fixture
def volumes(client: TestClient) -> str:
    """Id of the dataset of `tests.volume_jobs`; its files run to the back, to the left and down."""
    return str(upload_volumes(client)["id"])


@pytest.fixture
def painting(context: Context, scripted: ModuleType, volumes: str, page: Page, url: str) -> Page:
    """The first of its volumes, large, on axial slice 4, with the editor open."""
    job_id = finish_job(context, scripted, volumes)
    page.goto(f"{url}/jobs/{job_id}/review?at=0&advance=off&slice=4&sort=name")
    expect(page.locator(".tile .name").first).to_have_text(SAMPLE)
    page.keyboard.press("Enter")
    shows(page, SAMPLE)
    page.keyboard.press("e")
    expect(page.locator("#painting")).to_be_visible()
    return page


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def go(page: Page, key: str, shown: str) -> None:
    """To another slice, and wait until it is on the screen."""
    page.keyboard.press(key)
    expect(page.locator("#canvas")).to_have_attribute("data-slice", re.compile(shown))


def canonical(content: bytes) -> np.ndarray:
    """Voxels of a .nii.gz by nibabel, from left to right, back to front, feet to head."""
    file: Any = nib.Nifti1Image.from_bytes(gzip.decompress(content))
    return np.asarray(nib.as_closest_canonical(file).dataobj).copy()


def test_what_is_painted_over_slices_is_the_next_version_voxel_by_voxel(
    client: TestClient, volumes: str, painting: Page
) -> None:
    page = painting
    expected = canonical(volume_files()[f"labelsTr/{SAMPLE}.nii.gz"])
    before = expected.copy()
    for _ in range(3):  # down to the smallest brush: one voxel, to the lower right of the cross
        page.keyboard.press("[")
    assert page.locator("#brush").input_value() == "0.5"

    def paint(row: int, column: int, number: int) -> None:
        expected[EDGE - 1 - column, EDGE - 1 - row, number] = 1  # columns run to the left, rows to the back

    for key in ("ArrowRight", "ArrowUp"):
        press(page, *[key] * 3)  # from the middle to row 2, column 8, where nothing is labelled
    press(page, "Enter", "ArrowDown", "Enter")
    paint(2, 8, 4)
    paint(3, 8, 4)
    go(page, "PageUp", "axial 5")
    press(page, "ArrowDown", "ArrowDown", "Enter")  # the cross is where it was
    paint(5, 8, 5)
    press(page, "ArrowDown", "Enter", "r", "Enter", "Control+z", "Control+z")  # two steps, both undone
    go(page, "PageUp", "axial 6")
    press(page, "b", "Enter")
    expect(page.locator("#painted")).to_have_text("axial 4, 5, 6")
    go(page, "PageDown", "axial 5")
    page.keyboard.press("Control+z")  # of what was painted on slice 6, which is shown for it
    expect(page.locator("#canvas")).to_have_attribute("data-slice", "axial 6")
    expect(page.locator("#painted")).to_have_text("axial 4, 5")
    # The coronal slice through the cross shows what was painted on axial ones, and keeps it when it is painted on.
    press(page, "ArrowUp")  # to row 5
    go(page, "v", f"coronal {EDGE - 1 - 5}")
    press(page, "ArrowRight", "Enter")
    paint(5, 9, 6)
    expect(page.locator("#painted")).to_have_text("axial 4, 5; coronal 4")
    press(page, "Control+s")
    expect(page.locator("#large-badge")).to_have_text("✎ corrected · tests")

    page.reload()
    shows(page, SAMPLE)
    expect(page.locator("#large-badge")).to_have_text("✎ corrected · tests")
    expect(page.locator("#show-correction")).to_be_enabled()
    made = client.post(f"/v1/datasets/{volumes}/versions/1/reviews:finish", json={})
    assert made.status_code == 201, made.text
    mask = client.get(f"/v1/datasets/{volumes}/versions/2/samples/{SAMPLE}/mask").content
    np.testing.assert_array_equal(canonical(mask), expected)
    assert (expected != before).sum() == 4


def test_a_slice_is_copied_and_a_mouse_paints(client: TestClient, volumes: str, painting: Page) -> None:
    page = painting
    page.get_by_label("Begin with").select_option("nothing")
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.up()
    expect(page.locator("#painted")).to_have_text("axial 4")
    go(page, "PageUp", "axial 5")
    page.locator("#canvas").focus()
    page.keyboard.press("d")
    expect(page.locator("#painted")).to_have_text("axial 4, 5")
    go(page, "PageUp", "axial 6")
    page.get_by_label("Into this slice").select_option("label")
    expect(page.locator("#painted")).to_have_text("axial 4, 5, 6")
    page.go_back()  # would lose the painting, so it does not leave
    expect(page.locator("#painting")).to_be_visible()
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#large-badge")).to_have_text("✎ corrected · tests")
    mask = client.get(f"/v1/datasets/{volumes}/versions/1/samples/{SAMPLE}/review/mask").content
    found = canonical(mask)
    # Voxels are 1 mm wide and 0.5 mm high here, the brush 2 mm in radius: a disc for the eye.
    x, y = np.mgrid[:EDGE, :EDGE] + 0.5
    round_for_the_eye = (x - EDGE / 2) ** 2 + ((y - EDGE / 2) / 2) ** 2 <= 4
    assert (found[..., 4] != round_for_the_eye).sum() <= 4  # the pointer is at whole pixels of the screen
    assert found[..., 4].any()
    np.testing.assert_array_equal(found[..., 5], found[..., 4])
    label = canonical(volume_files()[f"labelsTr/{SAMPLE}.nii.gz"])
    np.testing.assert_array_equal(found[..., 6], label[..., 6])
    assert not np.delete(found, [4, 5, 6], axis=2).any()


def test_layers_of_a_volume_and_a_file_that_is_dropped(client: TestClient, volumes: str, painting: Page) -> None:
    page = painting
    page.keyboard.press("Escape")
    page.get_by_label("side by side").check()
    page.get_by_role("slider", name="Fill").fill("0.4")
    assert serious(page) == []
    new = np.zeros((EDGE,) * 3, np.uint8)
    new[2:5, 3:6, 1:4] = 1
    label: Any = nib.Nifti1Image.from_bytes(gzip.decompress(volume_files()[f"labelsTr/{SAMPLE}.nii.gz"]))
    content = gzip.compress(nib.Nifti1Image(new, label.affine).to_bytes())
    page.evaluate(
        """bytes => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "mask.nii.gz"));
            const drop = new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
            document.getElementById("canvas").dispatchEvent(drop);
        }""",
        list(content),
    )
    expect(page.locator("#large-badge")).to_have_text("✎ corrected · tests")
    mask = client.get(f"/v1/datasets/{volumes}/versions/1/samples/{SAMPLE}/review/mask").content
    np.testing.assert_array_equal(canonical(mask), canonical(content))
