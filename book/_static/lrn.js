/* Eleven activations at one position, before and after response normalization. */
"use strict";

interactive.figures("lrn", (place, paper) => {
  const {html, slider, group, responseNorm} = interactive;
  const TOP = 200, STEP = 5, LEAP = 25;
  const start = [20, 60, 10, 0, 90, 160, 40, 0, 30, 120, 70];
  const activations = Float64Array.from(start);
  const highest = start.indexOf(Math.max(...start));
  let chosen = highest, top = TOP, dragged = false;

  const k = slider("k", {min: 0.1, max: 5, step: 0.1, position: paper.k}, update);
  const alpha = slider(
    "alpha", {min: -6, max: -1, step: 0.25, position: Math.log10(paper.alpha)}, update,
    exponent => Number((10 ** exponent).toPrecision(2)),
  );
  const n = slider("n, channels", {min: 1, max: 11, step: 1, position: paper.size}, update);
  const beta = slider("beta", {min: 0, max: 1.5, step: 0.05, position: paper.beta}, update);
  const conventions = [["sum", "a sum, as printed"], ["mean", "a mean, as run"]];
  const convention = group("The energy is", "radio", conventions, update);
  const reset = html("button", {type: "button", onclick: () => {
    [k.position, alpha.position] = [paper.k, Math.log10(paper.alpha)];
    [n.position, beta.position] = [paper.size, paper.beta];
    convention.inputs.get("sum").checked = true;
    activations.set(start);
    chosen = highest;
    update();
  }}, "As at the start");

  const bars = start.map((_, i) => {
    const before = html("span", {class: "before"}), after = html("span", {class: "after"});
    const ground = html("div", {
      class: "ground", role: "slider", tabindex: 0, "aria-label": `activation of channel ${i}`,
      "aria-orientation": "vertical", "aria-valuemin": 0, "aria-valuemax": TOP,
      onfocus: () => { chosen = i; update(); },
      onkeydown: event => {
        if (event.altKey || event.ctrlKey || event.metaKey) return;  // the browser's
        const to = {
          ArrowUp: activations[i] + STEP, ArrowRight: activations[i] + STEP, PageUp: activations[i] + LEAP, End: TOP,
          ArrowDown: activations[i] - STEP, ArrowLeft: activations[i] - STEP, PageDown: activations[i] - LEAP, Home: 0,
        }[event.key];
        if (to === undefined) return;
        event.preventDefault();
        set(i, to);
      },
      onpointerdown: event => {
        if (event.button !== 0) return;
        ground.setPointerCapture(event.pointerId);
        dragged = true;
        drag(event);
      },
      onpointermove: event => { if (ground.hasPointerCapture(event.pointerId)) drag(event); },
      onlostpointercapture: () => { dragged = false; update(); },
    }, before, after);
    const drag = event => {
      const {bottom, height} = ground.getBoundingClientRect();
      chosen = i;
      set(i, Math.round((bottom - event.clientY) / height * top));
    };
    const numbers = [html("b"), html("span"), html("span")];
    const column = html("div", {class: "channel"}, ground, html("div", {"aria-hidden": "true"}, ...numbers));
    return {before, after, ground, numbers, column};
  });
  const result = html("p", {class: "result"});

  function set(i, value) {
    activations[i] = Math.min(TOP, Math.max(0, value));
    update();
  }

  function update() {
    const size = n.value, average = convention.chosen[0] === "mean";
    const after = responseNorm(activations, activations.length, 1, {
      size, alpha: alpha.value, beta: beta.value, k: k.value, average, groups: 1,
    });
    if (!dragged) top = Math.max(TOP, ...after);  // a bar stays under the pointer
    const below = chosen - Math.floor(size / 2);
    const low = Math.max(0, below), high = Math.min(below + size, activations.length) - 1;
    bars.forEach((bar, i) => {
      const [was, is] = [activations[i], after[i].toFixed(1)];
      bar.before.style.height = `${100 * was / top}%`;
      bar.after.style.height = `${Math.min(100, 100 * after[i] / top)}%`;
      bar.ground.setAttribute("aria-valuenow", was);
      bar.ground.setAttribute("aria-valuetext", `${was} before, ${is} after`);
      bar.column.classList.toggle("window", low <= i && i <= high);
      const texts = [i, was, after[i] < 99.95 ? is : after[i].toFixed(0)];
      texts.forEach((text, row) => { bar.numbers[row].textContent = text; });
    });
    const short = (number, digits) => number && number < 10 ** -digits ? number.toPrecision(2) : number.toFixed(digits);
    const factor = activations[chosen] ? `, a factor of ${short(after[chosen] / activations[chosen], 3)}` : "";
    const window = low === high ? `is channel ${low} alone` : `has the channels ${low} to ${high}`;
    const heard = bars.some(bar => bar.ground === document.activeElement);  // a bar says its numbers itself
    result.setAttribute("aria-live", heard ? "off" : "polite");
    result.textContent =
      `Channel ${chosen}: ${activations[chosen]} before, ${short(after[chosen], 1)} after${factor}. ` +
      `Its window ${window}.`;
  }

  place.append(
    html("div", {class: "bars", role: "group", "aria-label": "activations"}, ...bars.map(bar => bar.column)),
    html("p", {class: "legend"}, "Below each bar: ", html("b", {}, "channel"), ", before (outlined), after (filled)."),
    html("div", {class: "controls"}, k.element, alpha.element, n.element, beta.element),
    html("div", {class: "controls"}, convention.element, reset),
    result,
  );
  update();
});
