// From what can be drawn to what is seen: a layout of the visible window, and its painting.

// Fingers need more room than a mouse.
const ROW = matchMedia('(pointer: coarse)').matches ? 30 : 20;
const GAP = 1;
const AXIS = 22;
const TINY = 0.4;

// Items of a tree that a window shows, by row, with their place on the screen.
function layoutTree(root, kids, [from, to], width) {
  const scale = width / (to - from || 1);
  const rows = [];
  const waiting = [root];
  while (waiting.length) {
    const node = waiting.pop();
    const x = (node.start - from) * scale;
    const w = node.size * scale;
    if (w < TINY || x + w <= 0 || x >= width) continue;
    (rows[node.depth] ||= []).push({node, x, w});
    const below = kids(node);
    for (let n = below.length - 1; n >= 0; n--) waiting.push(below[n]);
  }
  return rows;
}

// The same for threads in the order of time, each below a row with its name.
function layoutLanes(all, [from, to], width) {
  const scale = width / (to - from || 1);
  const rows = [];
  for (const lane of all) {
    rows.push([{lane, x: 0, w: width}]);
    for (const items of lane.rows) {
      const row = [];
      let last = -1;
      for (let n = firstEndingAfter(items, from); n < items.length; n++) {
        const node = items[n];
        if (node.start >= to) break;
        const x = (node.start - from) * scale;
        // Of those too small to see, one for each pixel.
        const w = Math.max(node.size * scale, 1);
        if (x + w <= last) continue;
        last = Math.floor(x + w);
        row.push({node, x, w});
      }
      rows.push(row);
    }
  }
  return rows;
}

function firstEndingAfter(items, at) {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = low + high >> 1;
    if (items[middle].start + items[middle].size <= at) low = middle + 1;
    else high = middle;
  }
  return low;
}

// What a function's file tells of it, for its colour.
const KINDS = [
  ['own', 'your code'],
  ['library', 'installed packages'],
  ['standard', 'standard library'],
  ['native', 'native code'],
  ['collector', 'garbage collector'],
  ['task', 'tasks and threads'],
];

const kindOf = fn => data.functions.kind[fn];

const HUES = {
  own: [28, 24, 80], library: [212, 22, 62], standard: [150, 20, 40], native: [230, 4, 8],
  collector: [285, 8, 45], task: [190, 6, 55],
};

function hash(text) {
  let value = 2166136261;
  for (let n = 0; n < text.length; n++) value = Math.imul(value ^ text.charCodeAt(n), 16777619);
  return (value >>> 8) / 2 ** 24;
}

const isDark = () => matchMedia('(prefers-color-scheme: dark)').matches;

// Colours of functions: the hue says where they come from, shades tell neighbours apart.
const shades = new Map();
function shade(fn) {
  let colour = shades.get(fn);
  if (!colour) {
    const kind = kindOf(fn);
    const [hue, spread, saturation] = HUES[kind];
    const {functions, strings} = data;
    const where = hash(strings[functions.file[fn]]) - 0.5;
    const what = hash(strings[functions.name[fn]]) - 0.5;
    const h = hue + where * spread + what * spread * 0.5;
    const [s, l] = isDark()
      ? [saturation * 0.62, 36 + what * 8]
      : [saturation, 74 + what * 9];
    colour = `hsl(${h.toFixed(1)} ${s}% ${l.toFixed(1)}%)`;
    shades.set(fn, colour);
  }
  return colour;
}

// Of a comparison: red for more than before, blue for less, twice as much being the full colour.
function changeShade(node, totals) {
  const now = totals.after ? node.total / totals.after : 0;
  const then = totals.before ? node.before / totals.before : 0;
  if (now === then) return isDark() ? 'hsl(0 0% 34%)' : 'hsl(0 0% 88%)';
  const ratio = Math.log2((now + 1e-9) / (then + 1e-9));
  const strength = Math.min(1, Math.abs(ratio));
  const hue = ratio > 0 ? 6 : 214;
  return isDark()
    ? `hsl(${hue} ${12 + 50 * strength}% ${34 + 6 * strength}%)`
    : `hsl(${hue} ${20 + 65 * strength}% ${88 - 20 * strength}%)`;
}

const FONT = '12px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';

function palette() {
  const style = getComputedStyle(document.documentElement);
  const colour = name => style.getPropertyValue(name).trim();
  return {
    ground: colour('--ground'), ink: colour('--frame-ink'), faint: colour('--frame-faint'),
    root: colour('--root'), match: colour('--match'), matchInk: colour('--match-ink'),
    focus: colour('--focus'), soft: colour('--soft'), line: colour('--line'), text: colour('--ink'),
  };
}

// Paints the rows between two heights. `scene`: what page.js knows.
function paint(context, scene, top, width, height) {
  const colours = scene.colours;
  context.clearRect(0, 0, width, height);
  context.font = FONT;
  context.textBaseline = 'middle';
  scene.letter ||= context.measureText('abcdefghijklmnopqrstuvwxyz_().').width / 30;
  for (let row = 0; row < scene.rows.length; row++) {
    const y = scene.yOf(row) - top;
    if (y + ROW < 0 || y > height) continue;
    for (const item of scene.rows[row] || []) paintItem(context, scene, colours, item, y, width);
  }
  if (scene.isTime) paintAxis(context, scene, colours, width);
}

function paintItem(context, scene, colours, item, y, width) {
  if (item.lane) {
    context.fillStyle = colours.text;
    context.font = `600 ${FONT}`;
    context.fillText(fit(context, data.threads[item.lane.thread], width - 8, scene.letter), 4, y + ROW / 2 + 1);
    context.font = FONT;
    return;
  }
  const {node} = item;
  const left = Math.max(item.x, 0);
  const right = Math.min(item.x + item.w, width);
  // A hair between neighbours, as long as there is room for one.
  const w = Math.max(right - left - (item.w > 3 ? GAP : 0), 0.6);
  const isMatch = scene.matches && node.place >= 0 && scene.matches[node.place];
  const isDim = scene.matches && !isMatch;
  context.globalAlpha = isDim ? 0.38 : 1;
  context.fillStyle = isMatch ? colours.match : scene.colourOf(node);
  context.fillRect(left, y, w, ROW - GAP);
  if (node === scene.focus) {
    context.globalAlpha = 1;
    context.strokeStyle = colours.focus;
    context.lineWidth = 2;
    context.strokeRect(left + 1, y + 1, Math.max(w - 2, 1), ROW - GAP - 2);
  }
  if (w > 26) {
    context.fillStyle = isMatch ? colours.matchInk : node.place < 0 ? colours.text : colours.ink;
    const faint = isMatch || node.place < 0 ? context.fillStyle : colours.faint;
    paintLabel(context, scene, node, left + 5, y + (ROW - GAP) / 2 + 1, w - 8, faint);
  }
  context.globalAlpha = 1;
}

function paintLabel(context, scene, node, x, y, room, faint) {
  const {name, where} = scene.labelOf(node);
  const shown = fit(context, name, room, scene.letter);
  context.fillText(shown, x, y);
  const used = context.measureText(shown).width + 10;
  if (shown === name && where && room - used >= context.measureText(where).width) {
    context.fillStyle = faint;
    context.fillText(where, x + used, y);
  }
}

// As much of a text as there is room for. `letter`: how wide one is, about.
function fit(context, text, room, letter) {
  if (text.length * letter * 0.6 < room && context.measureText(text).width <= room) return text;
  let letters = Math.min(text.length, Math.ceil(room / letter * 1.3));
  while (letters > 1 && context.measureText(`${text.slice(0, letters)}…`).width > room) letters--;
  return letters < 2 ? '' : `${text.slice(0, letters)}…`;
}

// Seconds along the top.
function paintAxis(context, scene, colours, width) {
  const [from, to] = scene.window;
  const seconds = data.interval / 1e9;
  const span = (to - from) * seconds || 1;
  const rough = span / Math.max(width / 110, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find(factor => factor * power >= rough) * power;
  context.fillStyle = colours.ground;
  context.fillRect(0, 0, width, AXIS);
  context.fillStyle = colours.line;
  context.fillRect(0, AXIS - 1, width, 1);
  context.fillStyle = colours.soft;
  for (let n = Math.ceil(from * seconds / step); n * step <= to * seconds; n++) {
    const x = (n * step / seconds - from) / (to - from) * width;
    context.fillRect(Math.round(x), AXIS - 6, 1, 6);
    const label = timeText(n * step * 1e9);
    if (x + 4 + label.length * scene.letter < width) context.fillText(label, x + 4, AXIS / 2);
  }
}

function timeText(nanoseconds) {
  const seconds = nanoseconds / 1e9;
  const [number, unit] = seconds >= 1 || seconds === 0 ? [seconds, 's']
    : seconds >= 1e-3 ? [seconds * 1e3, 'ms'] : [seconds * 1e6, 'µs'];
  return `${Number(number.toPrecision(number >= 1000 ? 6 : 3))} ${unit}`;
}
