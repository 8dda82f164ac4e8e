// Arrow keys move along the ranking.
document.addEventListener("keydown", (event) => {
  const id = { ArrowLeft: "previous", ArrowRight: "following" }[event.key];
  if (id && !event.altKey && !event.ctrlKey && !event.metaKey) document.getElementById(id)?.click();
});
