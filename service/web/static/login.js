// A link /login#<key> signs in by itself. The fragment never leaves the browser but in the form's body.
const key = decodeURIComponent(location.hash.slice(1));
if (key) {
  history.replaceState(null, "", location.pathname + location.search);
  document.getElementById("key").value = key;
  document.getElementById("login").submit();
}
