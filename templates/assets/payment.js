// Keep the page of a payment true while it is open, and copy what its payer types elsewhere. All of it works without.
"use strict";

for (const button of document.querySelectorAll("button[data-copies]")) {
  if (!navigator.clipboard) break;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copies);
    button.firstChild.textContent = "Copied";
  });
}

const SECONDS = 5;
const live = document.querySelector("[data-live]");

async function look() {
  if (document.hidden) return;
  const answer = await fetch(location.pathname, { credentials: "same-origin" });
  if (!answer.ok || answer.redirected) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const now = page.querySelector("main [aria-live]");
  if (!now) return;
  if (now.dataset.live !== live.dataset.live) {
    // Another state has other forms below it.
    location.replace(location.pathname);
  } else if (now.textContent !== live.textContent) {
    live.replaceChildren(...now.childNodes);
  }
}

if (live) setInterval(() => look().catch(() => {}), SECONDS * 1000);
