/* What the figures to touch share: elements, controls, and the one layer that two of them compute. */
"use strict";

const interactive = (() => {
  const make = space => (name, attributes = {}, ...children) => {
    const element = document.createElementNS(space, name);
    for (const [key, value] of Object.entries(attributes)) {
      if (typeof value === "function") element[key] = value;  // onclick and the like
      else element.setAttribute(key, value);
    }
    element.append(...children);
    return element;
  };
  const html = make("http://www.w3.org/1999/xhtml"), svg = make("http://www.w3.org/2000/svg");

  /* Lets draw(place, data) fill every place of this figure on the page, and shows it. */
  function figures(name, draw) {
    for (const place of document.querySelectorAll(`.interactive[data-figure="${name}"]`)) {
      draw(place, JSON.parse(place.querySelector("script").textContent));
      place.hidden = false;
    }
  }

  /* A list to choose from: (value, text) pairs. */
  function choice(label, change) {
    const select = html("select", {onchange: change});
    const offer = (options, wanted) => {
      select.replaceChildren(...options.map(([value, text]) => html("option", {value}, text)));
      select.value = options.some(([value]) => value === wanted) ? wanted : options[0][0];
    };
    return {element: html("label", {}, html("span", {}, label), select), select, offer};
  }

  /* A slider with its value, read(position), beside it; whoever hears the slider's own need not hear that one too. */
  function slider(label, {min, max, step, position}, change, read = Number) {
    const output = html("output", {"aria-hidden": "true"}), input = html("input", {type: "range", min, max, step});
    const slider = {
      element: html("label", {}, html("span", {}, label), input, output),
      get value() { return read(input.value); },
      set position(to) { input.value = to; write(); },
    };
    function write() {
      output.textContent = slider.value;
      input.setAttribute("aria-valuetext", output.textContent);
    }
    input.oninput = () => { write(); change(); };
    slider.position = position;
    return slider;
  }

  /* One or several switches under a heading. */
  function group(legend, type, options, change) {
    const name = `${legend} ${type}`, inputs = new Map();
    const boxes = options.map(([value, text], number) => {
      const input = html("input", {type, name, value, onchange: change});
      input.checked = type === "checkbox" || number === 0;
      inputs.set(value, input);
      return html("label", {}, input, html("span", {}, text));
    });
    return {
      element: html("fieldset", {}, html("legend", {}, legend), ...boxes),
      inputs,
      get chosen() { return [...inputs].filter(([, input]) => input.checked).map(([value]) => value); },
    };
  }

  /* Local response normalization of (channels, positions) activations, as alexnet_repro.LocalResponseNorm does it. */
  function responseNorm(a, channels, positions, {size, alpha, beta, k, average, groups}) {
    const out = new a.constructor(a.length), part = channels / groups, below = Math.floor(size / 2);
    const coefficient = average ? alpha / size : alpha;
    for (let i = 0; i < channels; i++) {
      const first = i - i % part;
      const low = Math.max(first, i - below), high = Math.min(first + part, i - below + size);
      for (let p = 0; p < positions; p++) {
        let energy = 0;
        for (let j = low; j < high; j++) energy += a[j * positions + p] ** 2;
        out[i * positions + p] = a[i * positions + p] / (k + coefficient * energy) ** beta;
      }
    }
    return out;
  }

  return {html, svg, figures, choice, slider, group, responseNorm};
})();
