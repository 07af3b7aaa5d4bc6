"use strict";
// Theme, runs that are switched off, tables, films.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const charts = window.suiteCharts ?? { redraw() {} };
  const root = document.documentElement;

  // Light and dark: what the system prefers, until the button is pressed.
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    charts.redraw();
  });
  system.addEventListener("change", () => charts.redraw());

  // A run is switched off everywhere at once.
  for (const chip of all("[data-toggle]")) {
    chip.addEventListener("click", () => {
      const shown = chip.getAttribute("aria-pressed") !== "true";
      chip.setAttribute("aria-pressed", String(shown));
      for (const part of all(`[data-run="${chip.dataset.toggle}"]`)) part.classList.toggle("off", !shown);
      for (const film of all(".film")) film.classList.toggle("off", !film.querySelector(".panel:not(.off)"));
      charts.redraw();
    });
  }

  const turn = document.getElementById("turn");
  turn?.addEventListener("click", () => {
    turn.setAttribute("aria-pressed", String(turn.getAttribute("aria-pressed") !== "true"));
    for (const table of all(".turned")) table.hidden = !table.hidden;
  });

  // Sorting: numbers by their value, anything else by its text; what has no number comes last.
  const keyOf = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.order === undefined ? cell.textContent.trim() : Number(cell.dataset.order);
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), undefined, { numeric: true });
  };
  const sort = (heading) => {
    const body = heading.closest("table").tBodies[0];
    const column = heading.cellIndex;
    const descending = heading.getAttribute("aria-sort") === "ascending";
    const rows = [...body.rows].map((row) => [keyOf(row, column), row]);
    const numeric = rows.some(([key]) => typeof key === "number");
    rows.sort(([a], [b]) => {
      const odd = numeric ? (typeof a !== "number") - (typeof b !== "number") : 0;
      return odd || (descending ? compare(b, a) : compare(a, b));
    });
    for (const other of all("th[aria-sort]", heading.parentElement)) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    body.append(...rows.map(([, row]) => row));
  };
  for (const heading of all("th[aria-sort]")) heading.querySelector("button").addEventListener("click", () => sort(heading));

  for (const box of all(".filter input")) {
    const grid = box.closest(".grid");
    box.addEventListener("input", () => {
      const words = box.value.trim().toLowerCase();
      const rows = [...grid.querySelector("tbody").rows];
      for (const row of rows) row.hidden = ![...row.cells].some((cell) => cell.textContent.toLowerCase().includes(words));
      const shown = rows.filter((row) => !row.hidden).length;
      grid.querySelector(".count").textContent = words ? `${shown} of ${rows.length} rows` : `${rows.length} rows`;
    });
  }

  // A film: each panel shows its last frame up to the chosen time, or its first.
  const show = (film, place) => {
    for (const panel of all(".panel", film)) {
      const frames = all(".frame", panel);
      const past = frames.filter((frame) => Number(frame.dataset.place) <= place);
      const chosen = past.at(-1) ?? frames[0];
      for (const frame of frames) {
        frame.hidden = frame !== chosen;
        if (frame.hidden) frame.querySelector("audio")?.pause();
      }
    }
  };
  for (const slider of all(".slider input")) {
    const film = slider.closest(".film");
    const moments = JSON.parse(slider.dataset.moments);
    const play = film.querySelector(".play");
    let timer = null;
    const stop = () => {
      clearInterval(timer);
      timer = null;
      play.textContent = "▶";
    };
    const move = (place) => {
      slider.value = place;
      slider.setAttribute("aria-valuetext", moments[place]);
      film.querySelector("output").textContent = moments[place];
      show(film, place);
    };
    slider.addEventListener("input", () => { stop(); move(Number(slider.value)); });
    play.addEventListener("click", () => {
      if (timer !== null) return stop();
      play.textContent = "❚❚";
      move(Number(slider.value) === moments.length - 1 ? 0 : Number(slider.value));
      timer = setInterval(() => {
        if (Number(slider.value) === moments.length - 1) return stop();
        move(Number(slider.value) + 1);
      }, 500);
    });
  }

  // One sound at a time.
  document.addEventListener("play", (event) => {
    for (const sound of all("audio")) if (sound !== event.target) sound.pause();
  }, true);

  // On paper everything is open, and charts are as wide as their half of a page.
  let theme;
  addEventListener("beforeprint", () => {
    for (const part of all("details:not([open])")) { part.open = true; part.dataset.closed = ""; }
    theme = root.dataset.theme;
    root.dataset.theme = "light";
    charts.print?.();
  });
  addEventListener("afterprint", () => {
    for (const part of all("details[data-closed]")) { part.open = false; delete part.dataset.closed; }
    if (theme === undefined) delete root.dataset.theme; else root.dataset.theme = theme;
    charts.redraw();
  });
})();
