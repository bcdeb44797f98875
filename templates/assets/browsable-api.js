// What the framework's own pages lack for whoever listens to them: a language, and labels that know their fields.
document.documentElement.lang = "en";
document.querySelectorAll(".form-group").forEach((group, number) => {
  const label = group.querySelector("label:not([for])");
  const control = group.querySelector("input:not([type=hidden]), select, textarea");
  if (label && control) {
    control.id = control.id || `field-${number}`;
    label.htmlFor = control.id;
  }
});
document.querySelectorAll(".format-selection .dropdown-toggle").forEach((toggle) => {
  toggle.setAttribute("aria-label", "Choose a format");
});
