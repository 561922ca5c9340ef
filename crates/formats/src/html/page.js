// What the page's controls, mouse and keys do.

const $ = id => document.getElementById(id);
const state = {
  view: 'flame', inverted: false, bottom: false, byLine: false, thread: -1, status: 'all',
  side: 'after', search: '', window: null, zooms: [],
};
// Drawn last: see `rebuild` and `draw`.
const scene = {
  rows: [], window: [0, 1], matches: null, focus: null, colours: null, letter: 0, isTime: false,
  yOf: row => row * ROW, colourOf: () => '', labelOf: () => ({name: '', where: ''}),
};
let model = null;

const number = value => Math.round(value).toLocaleString('en-US');
const percent = (part, all) => all ? `${(part * 100 / all).toFixed(part && part / all < 0.001 ? 3 : 1)}%` : '–';
const samples = ticks => `${number(ticks)} ${Math.round(ticks) === 1 ? 'sample' : 'samples'}`;
// What samples stand for, and how long a stretch of time is.
const time = ticks => timeText(ticks * data.sample);
const stretch = ticks => timeText(ticks * data.interval);
// The last part of a file's name, with the one before it where many files have the same.
const shortFile = file => file.replace(/^.*[\\/](?!__(init|main)__\.py)/, '');

function describe(place) {
  const fn = model.places.function[place];
  const {functions, strings} = data;
  const file = strings[functions.file[fn]];
  const line = model.places.line[place];
  const at = line > 0 ? `:${line}` : '';
  return {
    fn, name: strings[functions.name[fn]], file: file && file + at,
    where: file && shortFile(file) + at,
  };
}

// All that is looked at, in words.
const whole = () => isDiff ? `${samples(model.before)} before, ${number(model.all)} after`
  : `${samples(model.all)}, ${time(model.all)} of threads' time`;

// From the profile to what can be drawn, after a change of what is looked at.
function rebuild() {
  if (!model || model.byLine !== state.byLine) {
    const places = makePlaces(state.byLine);
    model = {byLine: state.byLine, places, paths: makePaths(places)};
  }
  const status = STATUSES.find(([id]) => id === state.status)[2];
  const {paths} = model;
  model.weights = weigh(paths, state.thread, status);
  model.all = sum(model.weights.own);
  model.before = sum(model.weights.before);
  model.shares = placeShares(paths, model.weights, model.places.function.length);
  const scaled = isDiff && state.side === 'before';
  const sizeOf = node => scaled ? node.before : node.total;
  scene.isTime = state.view === 'time';
  if (scene.isTime) {
    model.lanes = lanes(paths, state.thread, status);
    model.whole = [0, Math.max(1, ...model.lanes.map(lane => lane.end))];
  } else {
    model.root = (state.inverted ? bottomUp : topDown)(paths, model.weights, sizeOf);
    model.kids = node => kidsOf(node, paths, sizeOf);
    model.whole = [0, model.root.size || 1];
  }
  const totals = {after: model.all, before: model.before};
  scene.colourOf = node => node.place < 0 ? scene.colours.root
    : isDiff ? changeShade(node, totals) : shade(model.places.function[node.place]);
  const labels = new Map([[-1, {name: 'all', where: whole()}]]);
  scene.labelOf = node => {
    if (!labels.has(node.place)) labels.set(node.place, describe(node.place));
    return labels.get(node.place);
  };
  explain();
  scene.focus = null;
  state.window = model.whole;
  state.zooms = [];
  search();
}

function search() {
  const words = state.search.toLowerCase().trim();
  scene.matches = null;
  if (words) {
    const matches = new Uint8Array(model.places.function.length);
    for (let place = 0; place < matches.length; place++) {
      const {name, file} = describe(place);
      if (`${name} ${file}`.toLowerCase().includes(words)) matches[place] = 1;
    }
    scene.matches = matches;
    const isBefore = isDiff && state.side === 'before';
    const own = isBefore ? model.weights.before : model.weights.own;
    const share = percent(matchedTicks(model.paths, own, matches), isBefore ? model.before : model.all);
    const places = matches.reduce((all, one) => all + one, 0);
    const what = state.byLine ? 'line' : 'function';
    $('matched').textContent = places
      ? `${share} in ${number(places)} ${what}${places === 1 ? '' : 's'}`
      : 'nothing matches';
  } else {
    $('matched').textContent = '';
  }
  draw();
}

// Lays out and paints the window.
function draw() {
  const chart = $('chart');
  const width = Math.max(chart.clientWidth, 50);
  scene.window = state.window;
  scene.rows = scene.isTime
    ? layoutLanes(model.lanes, state.window, width)
    : layoutTree(model.root, model.kids, state.window, width);
  const head = scene.isTime ? AXIS + 2 : 0;
  const height = head + scene.rows.length * ROW;
  const full = Math.max(height, chart.clientHeight);
  const upward = state.bottom && !scene.isTime;
  scene.yOf = upward ? row => full - (row + 1) * ROW : row => head + row * ROW;
  const wasAtBottom = chart.scrollTop + chart.clientHeight >= chart.scrollHeight - ROW;
  $('space').style.height = `${full}px`;
  if (upward && (wasAtBottom || scene.upward !== upward)) chart.scrollTop = full;
  scene.upward = upward;
  $('zoomed').hidden = state.window === model.whole;
  repaint();
  tell(scene.focus);
}

function repaint() {
  const chart = $('chart');
  const canvas = $('canvas');
  const [width, height] = [chart.clientWidth, chart.clientHeight];
  const ratio = devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  scene.colours ||= palette();
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  paint(context, scene, chart.scrollTop, width, height);
}

// What lies at a point of the canvas.
function at(x, y) {
  const chart = $('chart');
  if (scene.isTime && y < AXIS) return null;
  const from = y + chart.scrollTop;
  const first = scene.yOf(0);
  const row = Math.floor(scene.upward ? (first + ROW - from) / ROW : (from - first) / ROW);
  const items = scene.rows[row] || [];
  const hit = items.find(item => x >= item.x && x < item.x + Math.max(item.w, 1));
  return hit && hit.node || null;
}

function zoom(node) {
  scene.focus = node.place < 0 ? null : node;
  const window = node.place < 0 ? model.whole : [node.start, node.start + node.size];
  if (window[0] === state.window[0] && window[1] === state.window[1]) return draw();
  state.zooms.push(state.window);
  state.window = node.place < 0 ? model.whole : window;
  draw();
}

function zoomBack() {
  state.window = state.zooms.pop() || model.whole;
  draw();
}

// The words for a node, each a line of text.
function words(node) {
  if (node.place < 0) return {name: 'all', file: '', lines: [whole()]};
  const {name, file, fn} = describe(node.place);
  const lines = [];
  if (isDiff) {
    const [now, then] = [node.total / (model.all || 1), node.before / (model.before || 1)];
    const change = (now - then) * 100;
    const sign = change > 0 ? '+' : change < 0 ? '−' : '±';
    lines.push(`before ${percent(node.before, model.before)}, after ${percent(node.total, model.all)}: `
      + `${sign}${Math.abs(change).toFixed(1)} points`);
  } else if (scene.isTime) {
    lines.push(`${stretch(node.size)} from ${stretch(node.start)} on, ${samples(node.total)}`);
  } else {
    const own = node.own > 0 ? `, ${percent(node.own, model.all)} ${state.inverted ? 'outermost' : 'self'}` : '';
    lines.push(`here ${percent(node.total, model.all)} · ${samples(node.total)} · ${time(node.total)}${own}`);
  }
  if (!isDiff) {
    const {own, total} = model.shares;
    lines.push(`everywhere ${percent(total[node.place], model.all)} total, `
      + `${percent(own[node.place], model.all)} self`);
  }
  const kind = kindOf(fn);
  return {name, file, lines, kind: KINDS.find(([id]) => id === kind)[1]};
}

// The line at the foot: of what is chosen, for those who can't hover.
function tell(node) {
  const said = words(node || {place: -1});
  $('what').textContent = said.name;
  $('where').textContent = said.file || '';
  $('shares').textContent = said.lines.join(' · ');
}

function tip(node, x, y) {
  const box = $('tip');
  box.hidden = !node;
  if (!node) return;
  const said = words(node);
  box.replaceChildren(...[['b', said.name], ['i', said.file], ...said.lines.map(line => ['span', line]),
    ['small', said.kind]].filter(([, text]) => text).map(([tag, text]) => {
    const part = document.createElement(tag);
    part.textContent = text;
    return part;
  }));
  const {offsetWidth: width, offsetHeight: height} = box;
  const left = x + 14 + width > innerWidth ? Math.max(4, x - width - 10) : x + 14;
  const top = y + 18 + height > innerHeight ? Math.max(4, y - height - 10) : y + 18;
  box.style.transform = `translate(${left}px, ${top}px)`;
}

// The node next to the chosen one: outward, inward, or beside it.
function neighbour(move) {
  const row = scene.rows.findIndex(items => items && items.some(item => item.node === scene.focus));
  if (row < 0) return (scene.rows.flat().find(item => item.node && item.node.place >= 0) || {}).node;
  const items = scene.rows[row];
  const here = items.findIndex(item => item.node === scene.focus);
  if (move === 'left' || move === 'right') return (items[here + (move === 'left' ? -1 : 1)] || {}).node;
  const {x, w} = items[here];
  const others = scene.rows[row + (move === 'in' ? 1 : -1)] || [];
  const touching = others.filter(item => item.node && item.x < x + w && item.x + item.w > x);
  return touching.length ? touching.reduce((a, b) => b.w > a.w ? b : a).node : null;
}

function move(way) {
  const node = neighbour(way);
  if (!node || node.place < 0) return;
  scene.focus = node;
  const row = scene.rows.findIndex(items => items && items.some(item => item.node === node));
  const chart = $('chart');
  const y = scene.yOf(row);
  const top = scene.isTime ? AXIS : 0;
  if (y < chart.scrollTop + top) chart.scrollTop = y - top;
  if (y + ROW > chart.scrollTop + chart.clientHeight) chart.scrollTop = y + ROW - chart.clientHeight;
  repaint();
  tell(node);
}

function set(changes) {
  Object.assign(state, changes);
  for (const button of document.querySelectorAll('button[data-set]')) {
    const [key, value] = button.dataset.set.split('=');
    button.setAttribute('aria-pressed', String(String(state[key]) === value));
  }
  for (const key of ['inverted', 'bottom']) $(key).setAttribute('aria-pressed', String(state[key]));
  $('inverted').disabled = $('bottom').disabled = state.view === 'time';
  rebuild();
}

const flip = key => set({[key]: !state[key]});

const KEYS = {
  '/': () => $('search').focus(),
  '?': () => $('help').showModal(),
  'Escape': () => {
    if (state.search) {
      $('search').value = state.search = '';
      search();
    } else {
      zoom({place: -1});
    }
  },
  'Backspace': zoomBack,
  'Enter': () => scene.focus && zoom(scene.focus),
  'ArrowLeft': () => move('left'),
  'ArrowRight': () => move('right'),
  'ArrowUp': () => move(scene.upward ? 'in' : 'out'),
  'ArrowDown': () => move(scene.upward ? 'out' : 'in'),
  'i': () => state.view === 'flame' && flip('inverted'),
  'r': () => state.view === 'flame' && flip('bottom'),
  'l': () => isDiff || flip('byLine'),
  't': () => isDiff || set({view: state.view === 'time' ? 'flame' : 'time'}),
};

function listen() {
  const chart = $('chart');
  const inside = event => {
    const box = $('canvas').getBoundingClientRect();
    return at(event.clientX - box.left, event.clientY - box.top);
  };
  chart.addEventListener('scroll', repaint, {passive: true});
  chart.addEventListener('pointermove', event => {
    const node = event.pointerType === 'mouse' ? inside(event) : null;
    chart.classList.toggle('on', Boolean(node));
    tip(node, event.clientX, event.clientY);
  });
  chart.addEventListener('pointerleave', () => tip(null));
  chart.addEventListener('click', event => {
    const node = inside(event);
    tip(null);
    if (node) zoom(node);
  });
  document.addEventListener('keydown', event => {
    if (event.ctrlKey || event.altKey || event.metaKey || $('help').open) return;
    const typing = event.target === $('search');
    if (typing ? event.key === 'Escape' : event.key in KEYS && event.target.tagName !== 'SELECT') {
      const pressed = event.target.tagName === 'BUTTON' && (event.key === 'Enter');
      if (pressed) return;
      event.preventDefault();
      KEYS[event.key]();
      if (typing) chart.focus();
    }
  });
  $('search').addEventListener('input', event => {
    state.search = event.target.value;
    search();
  });
  $('thread').addEventListener('change', event => set({thread: Number(event.target.value)}));
  $('status').addEventListener('change', event => set({status: event.target.value}));
  for (const button of document.querySelectorAll('button[data-set]')) {
    const [key, value] = button.dataset.set.split('=');
    button.addEventListener('click', () => set({[key]: {true: true, false: false}[value] ?? value}));
  }
  for (const key of ['inverted', 'bottom']) $(key).addEventListener('click', () => flip(key));
  $('zoomed').addEventListener('click', () => zoom({place: -1}));
  $('ask').addEventListener('click', () => $('help').showModal());
  new ResizeObserver(() => model && draw()).observe(chart);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
    scene.colours = null;
    shades.clear();
    repaint();
  });
}

function option(select, value, text) {
  const made = document.createElement('option');
  made.value = value;
  made.textContent = text;
  select.append(made);
}

// Choices that there are: threads by weight, statuses that any sample has.
function offer() {
  const {counts} = data;
  const ofThread = new Float64Array(data.threads.length);
  counts.stack.forEach((_, n) => { ofThread[counts.thread[n]] += counts.ticks[n]; });
  const all = sum(ofThread);
  option($('thread'), -1, ofThread.length === 1 ? data.threads[0] : `All ${ofThread.length} threads`);
  if (ofThread.length > 1) {
    [...ofThread.keys()].sort((a, b) => ofThread[b] - ofThread[a]).forEach(n => {
      option($('thread'), n, `${data.threads[n]} · ${percent(ofThread[n], all)}`);
    });
  }
  for (const [id, name, lets] of STATUSES) {
    let ticks = 0;
    counts.ticks.forEach((count, n) => { if (lets(counts.status[n])) ticks += count; });
    if (id === 'all' || ticks > 0) option($('status'), id, id === 'all' ? name : `${name} · ${percent(ticks, all)}`);
  }
  for (const id of ['thread', 'status']) $(id).disabled = $(id).options.length < 2;
  document.body.classList.toggle('diff', isDiff);
}

// What the colours of what is drawn mean.
function explain() {
  const {shares, places} = model;
  const kinds = new Set(places.function.filter((_, n) => shares.total[n] > 0).map(kindOf));
  const legend = isDiff ? [['more', 'more than before'], ['less', 'less'], ['same', 'as before']]
    : KINDS.filter(([id]) => kinds.has(id));
  $('legend').replaceChildren(...legend.map(([id, name]) => {
    const entry = document.createElement('li');
    entry.className = id;
    entry.textContent = name;
    return entry;
  }));
}

offer();
listen();
set({});
