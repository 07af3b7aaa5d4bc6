"use strict";
// Curves and other charts, drawn by plotly when they come into view.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const root = document.documentElement;
  const smoothing = document.getElementById("smoothing");
  const logarithmic = document.getElementById("logarithmic");
  const config = { displaylogo: false, showSendToCloud: false, plotlyServerURL: "", displayModeBar: matchMedia("(hover: none)").matches ? false : "hover", responsive: true, scrollZoom: false, modeBarButtonsToRemove: ["select2d", "lasso2d"] };

  // plotly reads some tags in its texts: a name is a name.
  const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const isDark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const isOff = (run) => document.querySelector(`[data-toggle="${run}"]`)?.getAttribute("aria-pressed") === "false";

  const layoutOf = (extra = {}) => ({
    ...extra,
    template: data.templates[isDark() ? "dark" : "light"],
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: isDark() ? "#c5cede" : "#333d4f" },
    margin: { l: 56, r: 12, t: 26, b: 44 },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: isDark() ? "#6b778c" : "#9aa5b8", activecolor: isDark() ? "#e6eaf2" : "#1c2330" },
    colorway: data.colours,
    title: undefined,
    width: undefined,
    height: undefined,
    autosize: true,
  });

  // Exponential moving average, without its bias towards the first values (as for Adam's moments).
  const smoothed = (values, weight) => {
    let sum = 0, mass = 0;
    return values.map((value) => {
      sum = weight * sum + (1 - weight) * value;
      mass = weight * mass + (1 - weight);
      return sum / mass;
    });
  };

  // On a log scale values below zero are drawn with their sign changed; curves of both signs stay linear.
  const scaleOf = (curves) => {
    if (!logarithmic.checked) return { sign: 1, type: "linear", note: "" };
    const values = curves.flatMap((curve) => curve.value).filter((value) => value !== 0);
    if (values.every((value) => value > 0)) return { sign: 1, type: "log", note: "" };
    if (values.every((value) => value < 0)) return { sign: -1, type: "log", note: "Log scale of the value with its sign changed: lower is higher." };
    return { sign: 1, type: "linear", note: "Linear: a log scale cannot show values of both signs." };
  };

  const drawCurve = (figure) => {
    const axis = document.querySelector('input[name="axis"]:checked').value;
    const weight = Number(smoothing.value);
    const { metric, lines } = data.curves[Number(figure.dataset.curve)];
    const curves = lines.filter((curve) => !isOff(curve.run));
    const { sign, type, note } = scaleOf(curves);
    const traces = curves.flatMap((curve) => {
      const run = data.runs[curve.run];
      const raw = curve.value.map((value) => sign * value);
      const trace = (y, opacity, hoverinfo) => ({
        type: "scatter", mode: raw.length > 30 ? "lines" : "lines+markers", x: curve[axis], y, opacity, hoverinfo,
        name: plain(run.label), line: { color: run.colour, dash: run.dash, width: 2 }, marker: { size: 5, color: run.colour },
      });
      if (weight === 0) return [trace(raw, 1)];
      return [{ ...trace(raw, 0.25, "skip"), mode: "lines" }, trace(smoothed(raw, weight), 1)];
    });
    const layout = layoutOf({
      xaxis: { title: { text: axis === "step" ? "optimiser step" : "epoch" }, automargin: true },
      yaxis: { title: { text: plain((sign < 0 ? "−" : "") + metric) }, type, automargin: true },
      showlegend: false, hovermode: "x unified", uirevision: `${axis} ${type} ${sign}`,
    });
    Plotly.react(figure.querySelector(".plot"), traces, layout, config);
    figure.querySelector(".caption").textContent = note;
  };

  const drawChart = (figure) => {
    const { data: traces, layout } = data.charts[Number(figure.dataset.chart)];
    const titled = structuredClone(layout ?? {});
    const legend = { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 };
    const axes = Object.fromEntries(Object.entries(titled).filter(([name]) => /^[xy]axis/.test(name)).map(([name, axis]) => [name, { automargin: true, ...axis }]));
    const margin = { l: 56, r: 12, t: titled.showlegend === false ? 26 : 44, b: 44 };
    Plotly.react(figure.querySelector(".plot"), structuredClone(traces), { ...layoutOf({ legend, ...titled, ...axes }), margin }, config);
  };

  // plotly's script takes a second or two: it runs when the first chart is drawn, after the page has been shown.
  const load = () => {
    const script = document.createElement("script");
    script.textContent = document.getElementById("plotly").textContent;
    document.head.append(script);
  };

  const draw = (figure) => {
    if (window.Plotly === undefined) load();
    figure.dataset.drawn = "";
    if (figure.dataset.curve === undefined) drawChart(figure); else drawCurve(figure);
  };
  const inView = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) if (isIntersecting && target.dataset.drawn === undefined) draw(target);
  }, { rootMargin: "300px" });
  for (const figure of all(".chart")) inView.observe(figure);
  const redraw = () => { for (const figure of all(".chart[data-drawn]:not([hidden])")) draw(figure); };

  smoothing?.addEventListener("input", () => {
    document.querySelector('output[for="smoothing"]').textContent = smoothing.value;
    redraw();
  });
  logarithmic?.addEventListener("change", redraw);
  for (const choice of all('input[name="axis"]')) choice.addEventListener("change", redraw);
  for (const choice of all(".choices input")) {
    choice.addEventListener("change", () => {
      for (const figure of all(".curve").filter((one) => one.dataset.metric === choice.value)) {
        figure.hidden = !choice.checked;
        if (choice.checked) draw(figure);
      }
    });
  }

  const print = () => {
    for (const figure of all(".chart:not([hidden])")) {
      draw(figure);
      const part = figure.closest(".small") ? 205 : 320;
      Plotly.relayout(figure.querySelector(".plot"), { autosize: false, width: part, height: 240 });
    }
  };
  window.suiteCharts = { redraw, print };
})();
