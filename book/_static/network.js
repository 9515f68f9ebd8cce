/* A small AlexNet in the browser: its layers, what makes an image its input, and the figure around it. */
"use strict";

interactive.network = (() => {
  const SLICE = 12;  // milliseconds of work after which the page gets its turn
  const {responseNorm} = interactive;

  /* The network of a description by book/_ext/interactive.py, its numbers decoded. */
  function decoded(described) {
    const singles = halfPrecision();
    const half = text => Float32Array.from(new Uint16Array(bytes(text).buffer), number => singles[number]);
    const layers = described.layers.map(layer =>
      "weight" in layer ? {...layer, weight: half(layer.weight), bias: half(layer.bias)} : layer);
    const black = new Float32Array(bytes(described.input.black).buffer);
    return {...described, layers, input: {...described.input, black}};
  }

  function bytes(base64) {
    const text = atob(base64), found = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) found[i] = text.charCodeAt(i);
    return found;
  }

  /* The value of every 16 bits: a sign, 5 bits of exponent, 10 of fraction. */
  function halfPrecision() {
    return Float32Array.from({length: 65536}, (_, bits) => {
      const sign = bits >> 15 ? -1 : 1, exponent = bits >> 10 & 31, fraction = bits & 1023;
      if (exponent === 31) return fraction ? NaN : sign * Infinity;
      return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
    });
  }

  /* The central square of RGBA pixels at size x size RGB pixels, as data.decode.central_square: Pillow's filters,
     first along rows, then along columns, rounded in between. */
  function square({data, width, height}, size) {
    const side = Math.min(width, height);
    const [across, down] = [width, height].map(length => windows((length - side) / 2, side, size, length));
    const first = down[0].first, last = down.at(-1).first + down.at(-1).weights.length;
    const rows = new Uint8ClampedArray(height * size * 3), out = new Uint8ClampedArray(size * size * 3);
    for (let y = first; y < last; y++) {
      for (let x = 0; x < size; x++) {
        for (let c = 0; c < 3; c++) rows[(y * size + x) * 3 + c] = weighted(across[x], data, y * width * 4 + c, 4);
      }
    }
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < size * 3; x++) out[y * size * 3 + x] = weighted(down[y], rows, x, size * 3);
    }
    return out;
  }

  function weighted({first, weights}, values, start, stride) {
    let sum = 0.5;
    for (let i = 0; i < weights.length; i++) sum += weights[i] * values[start + (first + i) * stride];
    return Math.floor(sum);
  }

  /* Of every output pixel the input pixels that it is made of: their mean when shrinking, else a cubic filter. */
  function windows(start, side, size, length) {
    if (side === size && Number.isInteger(start)) {
      return Array.from({length: size}, (_, i) => ({first: start + i, weights: [1]}));
    }
    const scale = side / size, shrink = Math.max(1, scale);
    const [filter, reach] = scale >= 1 ? [box, 0.5 * scale] : [cubic, 2];
    return Array.from({length: size}, (_, i) => {
      const centre = start + (i + 0.5) * scale;
      const first = Math.max(0, Math.trunc(centre - reach + 0.5));
      const last = Math.min(length, Math.trunc(centre + reach + 0.5));
      const weights = Array.from({length: last - first}, (_, j) => filter((first + j - centre + 0.5) / shrink));
      const sum = weights.reduce((total, weight) => total + weight, 0);
      return {first, weights: weights.map(weight => weight / sum)};
    });
  }

  function box(x) {
    return -0.5 < x && x <= 0.5 ? 1 : 0;
  }

  function cubic(x) {
    const d = Math.abs(x);
    if (d < 1) return (1.5 * d - 2.5) * d * d + 1;
    return d < 2 ? ((-0.5 * d + 2.5) * d - 4) * d + 2 : 0;
  }

  /* The centre of size x size RGB pixels as the network's input, channel by channel. */
  function input({size, crop, scale, black}, pixels) {
    const from = Math.floor((size - crop) / 2), data = new Float32Array(3 * crop * crop);
    for (let c = 0, i = 0; c < 3; c++) {
      for (let y = from; y < from + crop; y++) {
        for (let x = from; x < from + crop; x++, i++) data[i] = pixels[(y * size + x) * 3 + c] * scale[c] + black[i];
      }
    }
    return {data, channels: 3, height: crop, width: crop};
  }

  /* Every layer's output, by name; the last are the logits. Without the layers named in `off`. Yields now and then. */
  function* forward(layers, x, off = []) {
    const outputs = new Map();
    for (const layer of layers) {
      if (!off.includes(layer.name)) x = yield* LAYERS[layer.kind](layer, x);
      outputs.set(layer.name, x);
      yield;
    }
    return outputs;
  }

  const like = (x, data) => ({...x, data});
  const LAYERS = {
    * conv({weight, bias, channels, kernel, stride, before, after, groups}, x) {
      const padded = pad(x, before, after), reads = x.channels / groups;
      const height = Math.floor((padded.height - kernel) / stride) + 1;
      const width = Math.floor((padded.width - kernel) / stride) + 1;
      const data = new Float32Array(channels * height * width);
      for (let o = 0, w = 0; o < channels; o++) {
        const out = data.subarray(o * height * width, (o + 1) * height * width).fill(bias[o]);
        const first = Math.floor(o / (channels / groups)) * reads;
        for (let c = first; c < first + reads; c++) {
          for (let ky = 0; ky < kernel; ky++) {
            for (let kx = 0; kx < kernel; kx++, w++) {
              for (let y = 0, i = 0; y < height; y++) {
                let j = (c * padded.height + y * stride + ky) * padded.width + kx;
                for (let x = 0; x < width; x++, i++, j += stride) out[i] += weight[w] * padded.data[j];
              }
            }
          }
        }
        yield;
      }
      return {data, channels, height, width};
    },
    * linear({weight, bias, outputs, groups}, x) {
      const inputs = x.data.length / groups, data = new Float32Array(outputs);
      for (let o = 0; o < outputs; o++) {
        const first = Math.floor(o / (outputs / groups)) * inputs;
        let sum = bias[o];
        for (let i = 0; i < inputs; i++) sum += weight[o * inputs + i] * x.data[first + i];
        data[o] = sum;
        if (o % 64 === 0) yield;
      }
      return {data, channels: outputs, height: 1, width: 1};
    },
    * norm(layer, x) {
      return like(x, responseNorm(x.data, x.channels, x.height * x.width, layer));
    },
    * "norm within"({size, scale, beta}, x) {
      const padded = pad(x, (size - 1) / 2, (size - 1) / 2);
      return like(x, x.data.map((value, i) => {
        const column = i % x.width, row = Math.floor(i / x.width) % x.height, c = Math.floor(i / (x.width * x.height));
        let energy = 0;
        for (let y = row; y < row + size; y++) {
          const line = (c * padded.height + y) * padded.width;
          for (let z = column; z < column + size; z++) energy += padded.data[line + z] ** 2;
        }
        return value / (1 + scale * energy / size ** 2) ** beta;
      }));
    },
    * pool({size, stride}, x) {  // windows clipped at the border
      const count = length => {
        const windows = Math.ceil((length - size) / stride) + 1;
        return (windows - 1) * stride < length ? windows : windows - 1;
      };
      const [height, width] = [count(x.height), count(x.width)];
      const data = new Float32Array(x.channels * height * width).fill(-Infinity);
      data.forEach((_, i) => {
        const left = i % width * stride, top = Math.floor(i / width) % height * stride;
        const c = Math.floor(i / (width * height));
        for (let y = top; y < Math.min(top + size, x.height); y++) {
          for (let z = left; z < Math.min(left + size, x.width); z++) {
            data[i] = Math.max(data[i], x.data[(c * x.height + y) * x.width + z]);
          }
        }
      });
      return {data, channels: x.channels, height, width};
    },
    * relu(_, x) {
      return like(x, x.data.map(value => Math.max(0, value)));
    },
    * dropout({factor}, x) {
      return like(x, x.data.map(value => factor * value));
    },
  };

  function pad(x, before, after) {
    const height = before + x.height + after, width = before + x.width + after;
    const data = new Float32Array(x.channels * height * width);
    for (let row = 0; row < x.channels * x.height; row++) {
      const to = (row + Math.floor(row / x.height) * (before + after) + before) * width + before;
      data.set(x.data.subarray(row * x.width, (row + 1) * x.width), to);
    }
    return {data, channels: x.channels, height, width};
  }

  function softmax(logits) {
    const top = Math.max(...logits), powers = Array.from(logits, logit => Math.exp(logit - top));
    const sum = powers.reduce((total, power) => total + power, 0);
    return powers.map(power => power / sum);
  }

  /* What a generator returns; the page has its turn in between. */
  async function run(steps) {
    for (let since = performance.now(); ;) {
      const {done, value} = steps.next();
      if (done) return value;
      if (performance.now() - since > SLICE) {
        await new Promise(resolve => setTimeout(resolve));
        since = performance.now();
      }
    }
  }

  /* Outputs and probabilities for size x size RGB pixels. */
  async function look(network, pixels, off = []) {
    const outputs = await run(forward(network.layers, input(network.input, pixels), off));
    return {outputs, probabilities: softmax([...outputs.values()].at(-1).data)};
  }

  return {decoded, bytes, square, look, receive: described => { interactive.network.loaded = decoded(described); }};
})();

interactive.figures("network", (place, {file, megabytes}) => {
  const {html, choice, group, network} = interactive;
  const BEST = 5, GAP = 1;
  const source = new URL(file, document.currentScript.src);
  const status = html("p", {"aria-live": "polite", class: "result"});
  let loading = false;  // a disabled button would lose the focus
  const load = html("button", {type: "button", onclick: () => {
    if (loading) return;
    loading = true;
    status.textContent = "Loading…";
    document.head.append(html("script", {src: source, onload: () => network.loaded ? show() : miss(), onerror: miss}));
  }}, `Load the network (${megabytes} MB)`);
  place.append(load, status);

  function miss() {
    loading = false;
    status.textContent = `${source} can't be loaded.`;
  }

  function show() {
    const {loaded} = network, {size, crop} = loaded.input;
    const norms = loaded.layers.filter(layer => layer.kind.startsWith("norm"));
    const fully = loaded.layers.findIndex(layer => layer.kind === "linear");
    const spatial = loaded.layers.slice(0, fully).map(layer => [layer.name, layer.name]);
    let pixels, outputs, opened = 0, updated = 0, ready;

    const samples = loaded.photographs.map(({name, png}) => {
      const picture = html("img", {src: `data:image/png;base64,${png}`, alt: "", width: 72, height: 72});
      const press = () => open(new Blob([network.bytes(png)], {type: "image/png"}), name, button);
      const button = html("button", {type: "button", "aria-pressed": "false", onclick: press}, picture, name);
      return button;
    });
    const chooser = html("input", {type: "file", accept: "image/*", onchange: () => {
      if (chooser.files.length) open(chooser.files[0], chooser.files[0].name);
    }});
    const drop = html("label", {
      class: "drop",
      ondragover: event => event.preventDefault(),
      ondrop: event => {
        event.preventDefault();
        const [dropped] = event.dataTransfer.files;
        if (dropped) open(dropped, dropped.name);
      },
    }, html("span", {}, "An image of your own, chosen or dropped here; it stays on this machine"), chooser);
    const on = group("Response normalization", "checkbox", norms.map(({name}) => [name, name]), update);
    const layer = choice("Feature maps after", () => { if (outputs) drawMaps(); });
    layer.offer(spatial);
    const seen = html("canvas", {width: crop, height: crop, role: "img", "aria-label": "what the network sees"});
    const rows = html("tbody"), maps = html("div", {class: "maps"});
    const heads = ["class", "probability", "%", "as trained, %"].map(text => html("th", {scope: "col"}, text));
    const head = html("thead", {}, html("tr", {}, ...heads));
    const table = html("table", {"aria-label": "the most probable classes"}, head, rows);

    async function open(blob, name, button) {
      const mine = ++opened;
      if (blob !== chooser.files[0]) chooser.value = "";  // or it would name another image, and not take that again
      status.textContent = `Reading ${name}…`;
      let found;
      try {
        found = await rgba(blob);
      } catch (error) {
        await ready;  // the last image's result would replace the message
        if (mine !== opened) return;
        chooser.value = "";
        status.textContent = `${name} ${error.message}.`;
        return;
      }
      if (mine !== opened) return;
      for (const sample of samples) sample.setAttribute("aria-pressed", sample === button);
      pixels = network.square(found, size);
      update();
    }

    function update() {
      if (pixels) ready = compute();
    }

    async function compute() {
      const mine = ++updated, off = norms.map(({name}) => name).filter(name => !on.chosen.includes(name));
      const now = await network.look(loaded, pixels, off);
      const trained = off.length ? await network.look(loaded, pixels) : now;
      if (mine !== updated) return;
      outputs = now.outputs;
      drawInput();
      drawTable(now.probabilities, trained.probabilities);
      drawMaps();
      const says = ({probabilities}) => {
        const best = probabilities.indexOf(Math.max(...probabilities));
        return `${loaded.classes[best]}, ${percent(probabilities[best])} %`;
      };
      status.textContent =
        off.length ? `Without ${off.join(", ")}: ${says(now)}. As trained: ${says(trained)}.` : `${says(now)}.`;
    }

    function drawInput() {
      const image = new ImageData(crop, crop), from = Math.floor((size - crop) / 2);
      for (let i = 0; i < crop * crop; i++) {
        const at = ((from + Math.floor(i / crop)) * size + from + i % crop) * 3;
        image.data.set([...pixels.subarray(at, at + 3), 255], 4 * i);
      }
      seen.getContext("2d").putImageData(image, 0, 0);
    }

    function drawTable(now, trained) {
      const order = now.map((_, i) => i).sort((a, b) => now[b] - now[a]).slice(0, BEST);
      rows.replaceChildren(...order.map(i => {
        const bar = html("span", {class: "bar"}, html("span"), html("i"));
        bar.firstChild.style.width = `${100 * now[i]}%`;
        bar.lastChild.style.left = `${100 * trained[i]}%`;
        return html("tr", {},
          html("th", {scope: "row"}, loaded.classes[i]), html("td", {}, bar),
          html("td", {}, percent(now[i])), html("td", {}, percent(trained[i])));
      }));
    }

    /* A canvas for each tower: every channel from black, 0 or less, to white, its own maximum. */
    function drawMaps() {
      const {data, channels, height, width} = outputs.get(layer.select.value), part = channels / loaded.towers;
      let columns = Math.ceil(Math.sqrt(part));
      while (part % columns) columns++;
      maps.replaceChildren(...Array.from({length: loaded.towers}, (_, tower) => {
        const canvas = html("canvas", {
          width: columns * (width + GAP) - GAP, height: part / columns * (height + GAP) - GAP, role: "img",
          "aria-label": `${part} feature maps after ${layer.select.value}, tower ${tower + 1} of ${loaded.towers}`,
        });
        const context = canvas.getContext("2d");
        for (let channel = 0; channel < part; channel++) {
          const first = (tower * part + channel) * height * width, map = data.subarray(first, first + height * width);
          const top = Math.max(...map, 1e-9), image = new ImageData(width, height);
          map.forEach((value, i) => image.data.set([...Array(3).fill(255 * Math.max(0, value) / top), 255], 4 * i));
          const [column, row] = [channel % columns, Math.floor(channel / columns)];
          context.putImageData(image, column * (width + GAP), row * (height + GAP));
        }
        return html("figure", {}, html("figcaption", {}, `tower ${tower + 1}`), canvas);
      }));
    }

    const focused = load === document.activeElement;
    load.replaceWith(
      html("div", {class: "samples", role: "group", "aria-label": "photographs"}, ...samples), drop,
      html("div", {class: "controls"}, on.element, layer.element),
    );
    place.append(html("div", {class: "answer"}, seen, table), maps);
    samples[0].click();
    if (focused) samples[0].focus();
  }

  const percent = probability => (100 * probability).toFixed(1);

  /* The pixels of an image file, upright, on white, with the values that are in the file. */
  async function rgba(blob) {
    const image = await createImageBitmap(blob, {colorSpaceConversion: "none"}).catch(() => {
      throw new Error("is not an image that this browser can read");
    });
    const {width, height} = image;
    const context = html("canvas", {width, height}).getContext("2d", {willReadFrequently: true});
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
    context.drawImage(image, 0, 0);
    image.close();
    const pixels = context.getImageData(0, 0, width, height);
    if (!pixels.data[3]) throw new Error("has more pixels than this browser can draw");  // nothing became white
    return pixels;
  }
});
