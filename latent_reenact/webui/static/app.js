// Small habits of the page. Listeners sit on the document, since results come and go.
(() => {
  document.addEventListener("input", (event) => {
    const wipe = event.target.closest?.(".lr-wipe");
    if (wipe) wipe.style.setProperty("--cut", `${event.target.value}%`);
  });

  const hold = (on) => document.documentElement.classList.toggle("lr-holding", on);
  const holds = (event) => event.target.closest?.("#lr-hold");
  document.addEventListener("pointerdown", (event) => holds(event) && hold(true));
  for (const end of ["pointerup", "pointercancel", "blur"]) window.addEventListener(end, () => hold(false));
  document.addEventListener("keydown", (event) => holds(event) && [" ", "Enter"].includes(event.key) && hold(true));
  document.addEventListener("keyup", () => hold(false));
  document.addEventListener("contextmenu", (event) => holds(event) && event.preventDefault());

  // On a narrow screen the result is below what was clicked.
  let busy = false;
  new MutationObserver(() => {
    const stage = document.querySelector("#lr-result .lr-stage");
    const now = !!stage?.querySelector(".lr-progress");
    if (now && !busy && innerWidth < 700) stage.scrollIntoView({ block: "center", behavior: "smooth" });
    busy = now;
    for (const text of document.querySelectorAll("[data-testid='toast-text']")) {
      if (!text.textContent.includes("currently busy")) continue;
      text.textContent = "Many people are drawing just now. Please wait a minute and try again.";
      const title = text.closest(".toast-body").querySelector(".toast-title");
      if (title) title.textContent = "The queue is full";
    }
    const names = document.querySelector("[data-lr-examples]")?.dataset.lrExamples.split("|") ?? [];
    document.querySelectorAll("#lr-examples button").forEach((button, i) => {
      if (names[i] && button.ariaLabel !== names[i]) button.ariaLabel = button.title = names[i];
    });
  }).observe(document.documentElement, { childList: true, subtree: true });

  document.addEventListener("click", (event) => {
    if (event.target.closest?.('[data-lr="theme"]')) document.body.classList.toggle("dark");
  });
})();
