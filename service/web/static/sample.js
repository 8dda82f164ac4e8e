// Arrow keys move along the ranking, unless they move a control.
document.addEventListener("keydown", (event) => {
  const id = { ArrowLeft: "previous", ArrowRight: "following" }[event.key];
  if (event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement) return;
  if (id && !event.altKey && !event.ctrlKey && !event.metaKey) document.getElementById(id)?.click();
});

// Of a volume, the pictures follow the slider; another plane has other slices, so the page is asked for anew.
const slices = document.getElementById("slices");
slices?.elements.slice.addEventListener("input", () => {
  slices.elements.shown.value = slices.elements.slice.value;
});
slices?.elements.slice.addEventListener("change", () => {
  for (const picture of document.querySelectorAll(".pair img")) {
    const address = new URL(picture.src);
    address.searchParams.set("slice", slices.elements.slice.value);
    picture.src = address;
  }
});
slices?.elements.axis.addEventListener("change", () => {
  slices.elements.slice.disabled = true;
  slices.submit();
});
