"use strict";
(() => {
  const models = document.getElementById("models"), live = document.getElementById("live"), told = document.getElementById("told");
  document.getElementById("again").hidden = false;
  const ask = async () => {
    if (document.hidden || !live.checked) return;
    try {
      const answer = await fetch("/status", { cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("models");
      // Keeps open what its reader has opened, and the place of the keyboard.
      for (const one of fresh.querySelectorAll("details")) {
        const before = document.getElementById(one.id);
        if (before) one.open = before.open;
      }
      const at = [...models.querySelectorAll("summary, .wide")].indexOf(document.activeElement);
      models.replaceChildren(...fresh.childNodes);
      if (at >= 0) models.querySelectorAll("summary, .wide")[at]?.focus({ preventScroll: true });
      told.textContent = "";
    } catch (error) {
      told.textContent = "The gateway does not answer: what is shown is old. It is asked again every 10 s.";
    }
  };
  setInterval(ask, 10000);
})();
