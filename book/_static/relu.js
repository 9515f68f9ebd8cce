/* The paper's Figure 1 from recorded runs: training errors per epoch, and how much faster one arm is than the other. */
"use strict";

interactive.figures("relu", (place, {target, versions}) => {
  const {html, svg, choice} = interactive;
  const HEIGHT = 300, MARGIN = {left: 40, right: 14, top: 32, bottom: 40};
  const STRIP = 82, RATIOS = [1, 2, 3, 4, 6, 8, 10];
  const [slow, fast] = Object.keys(versions[0].arms);
  const epochs = Math.max(...versions.flatMap(({arms}) => Object.values(arms).flat().map(run => run.errors.length)));

  const network = choice("Network", () => { offer(); draw(); });
  const protocol = choice("Protocol", () => { offer(); draw(); });
  const seed = choice("Seed", draw);
  const curves = html("div"), strip = html("div");
  const result = html("p", {"aria-live": "polite", class: "result"});

  const same = names => [...new Set(names)].map(name => [name, name]);
  network.offer(same(versions.map(version => version.network)));
  offer();

  /* The protocols of the chosen network, and the seeds of the chosen version. */
  function offer() {
    const of = versions.filter(version => version.network === network.select.value);
    protocol.offer(same(of.map(version => version.protocol)), protocol.select.value);
    seed.offer([["all", "all"], ...chosen().seeds.map(String).map(name => [name, name])], seed.select.value);
  }

  function chosen() {
    const is = version => version.network === network.select.value && version.protocol === protocol.select.value;
    return versions.find(is);
  }

  function draw() {
    const version = chosen(), pair = version.seeds.map(String).indexOf(seed.select.value);  // -1: all
    const width = curves.clientWidth, says = words(version, pair);
    if (result.textContent !== says) result.textContent = says;  // another width is nothing to announce
    curves.replaceChildren(drawCurves(version, pair, width));
    strip.replaceChildren(drawStrip(version, pair, width));
  }

  function words({arms, values, estimate, low, high, verdict, paper, decimals, seeds}, pair) {
    const bound = runs => runs.some(run => run.reached === null);
    const of = side => pair < 0 ? arms[side] : [arms[side][pair]];
    const about = bound(of(slow)) ? "at least " : bound(of(fast)) ? "at most " : "";
    const ratio = pair < 0 ? estimate : values[pair];
    const ending = `The paper says ${paper}. Verdict on all seeds: ${verdict}.`;
    if (ratio == null) return `How many times as many epochs ${slow} takes as ${fast} is not known. ${ending}`;
    const upper = high === null ? "without an upper end" : `to ${high.toFixed(decimals)}`;
    const interval = low === null ? "no interval yet" : `95 % interval ${low.toFixed(decimals)} ${upper}`;
    const runs = pair < 0 ? `${interval}, ${seeds.length} seeds` : `seed ${seeds[pair]} alone`;
    return `To ${100 * target} % training error ${slow} takes ${about}${ratio.toFixed(decimals)} times as many epochs as ` +
      `${fast} (${runs}). ${ending}`;
  }

  function drawCurves({arms}, pair, width) {
    const x = epoch => MARGIN.left + epoch / epochs * (width - MARGIN.left - MARGIN.right);
    const y = error => MARGIN.top + (1 - error) * (HEIGHT - MARGIN.top - MARGIN.bottom);
    const parts = [];
    for (const error of [0, 0.25, 0.5, 0.75, 1]) {
      parts.push(svg("path", {class: error === target ? "target" : "grid", d: `M${x(0)},${y(error)}H${x(epochs)}`}));
      parts.push(svg("text", {x: MARGIN.left - 6, y: y(error) + 4, class: "end"}, String(100 * error)));
    }
    for (let epoch = 0; epoch <= epochs; epoch += 10) {
      parts.push(svg("text", {x: x(epoch), y: y(0) + 18, class: "middle"}, String(epoch)));
    }
    parts.push(svg("text", {x: x(epochs / 2), y: HEIGHT - 4, class: "middle"}, "epochs"));
    Object.entries(arms).forEach(([arm, runs], number) => {
      const line = errors => "M" + errors.map((error, epoch) => `${x(epoch + 1)},${y(error)}`).join("L");
      const shown = pair < 0 ? runs : [runs[pair]];
      if (!shown.length) return;
      const common = Math.min(...shown.map(run => run.errors.length));
      const mean = Array.from({length: common}, (_, epoch) =>
        shown.reduce((sum, run) => sum + run.errors[epoch], 0) / shown.length);
      for (const {errors, reached} of shown) {
        parts.push(svg("path", {class: `curve thin arm${number}`, d: line(errors)}));
        if (reached !== null) parts.push(svg("circle", {class: `arm${number}`, cx: x(reached), cy: y(target), r: 3.5}));
      }
      parts.push(svg("path", {class: `curve arm${number}`, d: line(mean)}));
      const left = x(epochs) - 76 * (2 - number);
      parts.push(svg("path", {class: `curve arm${number}`, d: `M${left},10h30`}));
      parts.push(svg("text", {x: left + 36, y: 14}, arm));
    });
    const label = `Training error against epochs, ${Object.keys(arms).join(" and ")}, with a line at ${100 * target} %`;
    return svg("svg", {width, height: HEIGHT, role: "img", "aria-label": label}, ...parts);
  }

  function drawStrip({values, estimate, low, high, paper}, pair, width) {
    const [first, last] = [RATIOS[0], RATIOS.at(-1)].map(Math.log);
    const within = ratio => Math.min(Math.max(Math.log(ratio), first), last);  // what is farther out is at the edge
    const x = ratio => MARGIN.left + (within(ratio) - first) / (last - first) * (width - MARGIN.left - MARGIN.right);
    const axis = 62, parts = [svg("path", {class: "grid", d: `M${x(RATIOS[0])},${axis}H${x(RATIOS.at(-1))}`})];
    for (const ratio of RATIOS) parts.push(svg("text", {x: x(ratio), y: axis + 16, class: "middle"}, String(ratio)));
    values.forEach((value, number) => {
      const name = pair < 0 || pair === number ? "pair" : "pair other";
      parts.push(svg("path", {class: name, d: `M${x(value)},${axis - 16}v-12`}));
    });
    if (low !== null) {
      parts.push(svg("path", {class: "interval", d: `M${x(low)},${axis - 8}H${x(high ?? RATIOS.at(-1))}`}));
      const cut = [[low < RATIOS[0], RATIOS[0], 5], [high === null || high > RATIOS.at(-1), RATIOS.at(-1), -5]];
      for (const [beyond, end, back] of cut) {  // an arrow where the interval goes on
        if (beyond) parts.push(svg("path", {class: "interval", d: `M${x(end) + back},${axis - 13}l${-back},5l${back},5`}));
      }
    }
    if (estimate !== null) parts.push(svg("circle", {class: "estimate", cx: x(estimate), cy: axis - 8, r: 5}));
    parts.push(svg("path", {class: "paper", d: `M${x(paper)},${axis - 38}m0,-6l6,6l-6,6l-6,-6z`}));
    parts.push(svg("text", {x: x(paper) + 10, y: axis - 34}, "paper"));
    const label = "The ratio: every pair of runs, their mean with its interval, and the paper's number";
    return svg("svg", {width, height: STRIP, role: "img", "aria-label": label}, ...parts);
  }

  place.append(
    html("div", {class: "controls"}, network.element, protocol.element, seed.element),
    html("p", {class: "legend"}, "Training error, %, against epochs:"), curves, strip,
    html("p", {class: "legend"}, `Above: ${slow} / ${fast}, epochs to ${100 * target} % (1: no effect).`), result,
  );
  draw();  // so that a change of width changes no height
  new ResizeObserver(draw).observe(curves);
});
