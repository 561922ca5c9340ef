'use strict';
// The profile as the page holds it, and what can be drawn of it: items with a place, a start and
// an end, row by row. No function here recurses over stacks: they may be thousands deep.

const data = JSON.parse(document.getElementById('profile').textContent);
const isDiff = Boolean(data.counts.before);

// What stacks are made of: functions, or lines of them.
function makePlaces(byLine) {
  const {frames} = data;
  const places = {function: [], line: [], ofFrame: new Int32Array(frames.function.length)};
  const known = new Map();
  for (let f = 0; f < frames.function.length; f++) {
    const fn = frames.function[f];
    const line = byLine ? frames.line[f] : data.functions.line[fn];
    const key = fn * 2 ** 32 + (byLine ? line : 0);
    let place = known.get(key);
    if (place === undefined) {
      place = places.function.length;
      known.set(key, place);
      places.function.push(fn);
      places.line.push(line);
    }
    places.ofFrame[f] = place;
  }
  return places;
}

// Stacks of places: a caller stands before what it calls.
function makePaths(places) {
  const {caller, frame} = data.stacks;
  const paths = {caller: [], place: [], depth: [], ofStack: new Int32Array(frame.length)};
  const known = new Map();
  const count = places.function.length;
  for (let s = 0; s < frame.length; s++) {
    const up = caller[s] < 0 ? -1 : paths.ofStack[caller[s]];
    const place = places.ofFrame[frame[s]];
    const key = (up + 1) * count + place;
    let path = known.get(key);
    if (path === undefined) {
      path = paths.place.length;
      known.set(key, path);
      paths.caller.push(up);
      paths.place.push(place);
      paths.depth.push(up < 0 ? 0 : paths.depth[up] + 1);
    }
    paths.ofStack[s] = path;
  }
  return paths;
}

// What a thread did is a number of base 3: 0 not known, 1 no, 2 yes; below it a bit for "not
// certain".
const digit = (code, n) => Math.floor((code >> 1) / 3 ** n) % 3;
const STATUSES = [
  ['all', 'All samples', () => true],
  ['cpu', 'On a processor', code => digit(code, 0) === 2],
  ['queue', 'Waiting for a processor', code => digit(code, 4) === 2],
  ['off', 'Off the processor', code => digit(code, 0) === 1],
  ['gil', 'Holding the GIL', code => digit(code, 1) === 2],
  ['nogil', 'Without the GIL', code => digit(code, 1) === 1],
  ['wait', 'Waiting for the GIL', code => digit(code, 2) === 2],
  ['exception', 'Handling an exception', code => digit(code, 3) === 2],
  ['torn', 'Not certain (torn or guessed)', code => (code & 1) === 1],
];

// The ticks of each path by itself, of the samples that a filter lets through.
function weigh(paths, thread, status) {
  const {counts} = data;
  const own = new Float64Array(paths.place.length);
  const before = new Float64Array(isDiff ? paths.place.length : 0);
  for (let n = 0; n < counts.stack.length; n++) {
    if (thread >= 0 && counts.thread[n] !== thread || !status(counts.status[n])) continue;
    const path = paths.ofStack[counts.stack[n]];
    own[path] += counts.ticks[n];
    if (isDiff) before[path] += counts.before[n];
  }
  return {own, before};
}

function sum(numbers) {
  let total = 0;
  for (const number of numbers) total += number;
  return total;
}

// Each path's ticks with those of all it called.
function withCalled(paths, own) {
  const total = own.slice();
  for (let n = total.length - 1; n >= 0; n--) {
    if (paths.caller[n] >= 0) total[paths.caller[n]] += total[n];
  }
  return total;
}

// A node: what `size` says is its width; `own`, `total` and `before` are ticks.
const makeNode = (place, up, depth) =>
  ({place, up, depth, start: 0, size: 0, own: 0, total: 0, before: 0, kids: [], entries: null});

function arrange(node) {
  node.kids.sort((a, b) => b.size - a.size || a.place - b.place);
  let at = node.start;
  for (const kid of node.kids) {
    kid.start = at;
    at += kid.size;
  }
}

// Callers above what they call, the heaviest left.
function topDown(paths, weights, sizeOf) {
  const total = withCalled(paths, weights.own);
  const before = isDiff ? withCalled(paths, weights.before) : null;
  const root = makeNode(-1, null, 0);
  const nodes = new Array(total.length);
  root.total = sum(weights.own);
  root.before = sum(weights.before);
  root.size = sizeOf(root);
  const all = [root];
  for (let n = 0; n < total.length; n++) {
    if (!(total[n] > 0 || before && before[n] > 0)) continue;
    const up = paths.caller[n] < 0 ? root : nodes[paths.caller[n]];
    const node = makeNode(paths.place[n], up, paths.depth[n] + 1);
    node.own = weights.own[n];
    node.total = total[n];
    node.before = before ? before[n] : 0;
    node.size = sizeOf(node);
    nodes[n] = node;
    up.kids.push(node);
    all.push(node);
  }
  all.forEach(arrange);
  return root;
}

// What was innermost above who called it. Its nodes' `kids` are made when they are first asked for,
// since most are too small to be seen.
function bottomUp(paths, weights, sizeOf) {
  const root = makeNode(-1, null, 0);
  root.kids = null;
  root.entries = [];
  for (let n = 0; n < weights.own.length; n++) {
    const own = weights.own[n];
    const before = isDiff ? weights.before[n] : 0;
    if (own > 0 || before > 0) root.entries.push([n, own, before]);
    root.total += own;
    root.before += before;
  }
  root.size = sizeOf(root);
  return root;
}

function kidsOf(node, paths, sizeOf) {
  if (node.kids) return node.kids;
  const kids = new Map();
  for (const [path, own, before] of node.entries) {
    const place = paths.place[path];
    let kid = kids.get(place);
    if (!kid) {
      kid = makeNode(place, node, node.depth + 1);
      kid.kids = null;
      kid.entries = [];
      kids.set(place, kid);
    }
    kid.total += own;
    kid.before += before;
    if (paths.caller[path] >= 0) kid.entries.push([paths.caller[path], own, before]);
    else kid.own += own;
  }
  node.kids = [...kids.values()];
  node.kids.forEach(kid => { kid.size = sizeOf(kid); });
  arrange(node);
  return node.kids;
}

// Each thread's rows of items in the order of time.
function lanes(paths, thread, status) {
  const {times} = data;
  const of = new Map();
  for (let n = 0; n < times.stack.length; n++) {
    if (thread >= 0 && times.thread[n] !== thread || !status(times.status[n])) continue;
    let lane = of.get(times.thread[n]);
    if (!lane) {
      lane = {thread: times.thread[n], rows: [], open: [], path: -1, end: 0};
      of.set(times.thread[n], lane);
    }
    addRun(lane, paths, paths.ofStack[times.stack[n]], times.from[n], times.ticks[n]);
  }
  return [...of.values()].sort((a, b) => a.thread - b.thread);
}

function addRun(lane, paths, path, from, ticks) {
  const {open} = lane;
  const {caller, depth, place} = paths;
  const apart = from - lane.end >= 1.5;
  // Keep open what both have in common.
  let shared = apart ? -1 : lane.path;
  let other = path;
  while (shared >= 0 && depth[shared] > depth[other]) shared = caller[shared];
  while (shared >= 0 && depth[other] > depth[shared]) other = caller[other];
  while (shared >= 0 && shared !== other) {
    shared = caller[shared];
    other = caller[other];
  }
  open.length = shared < 0 ? 0 : depth[shared] + 1;
  const fresh = [];
  for (let n = path; n !== shared && n >= 0; n = caller[n]) fresh.push(n);
  for (let n = fresh.length - 1; n >= 0; n--) {
    const row = open.length;
    const item = {place: place[fresh[n]], start: from, size: 0, total: 0, own: 0, lane};
    if (row === lane.rows.length) lane.rows.push([]);
    lane.rows[row].push(item);
    open.push(item);
  }
  const end = from + ticks;
  for (const item of open) {
    item.size = end - item.start;
    item.total += ticks;
  }
  if (open.length) open[open.length - 1].own += ticks;
  lane.path = path;
  lane.end = end;
}

// What each place was innermost in, and on the stack of: counted once however often it stood there.
function placeShares(paths, weights, count) {
  const own = new Float64Array(count);
  const total = new Float64Array(count);
  const called = withCalled(paths, weights.own);
  const kids = paths.place.map(() => null);
  const waiting = [];
  for (let n = paths.place.length - 1; n >= 0; n--) {
    const up = paths.caller[n];
    if (up < 0) waiting.push(n);
    else (kids[up] ||= []).push(n);
  }
  const depth = new Int32Array(count);
  while (waiting.length) {
    const n = waiting.pop();
    if (n < 0) {
      depth[paths.place[~n]]--;
      continue;
    }
    const place = paths.place[n];
    own[place] += weights.own[n];
    if (depth[place]++ === 0) total[place] += called[n];
    waiting.push(~n);
    for (const kid of kids[n] || []) waiting.push(kid);
  }
  return {own, total};
}

// The ticks of the samples that have a matching place on their stack.
function matchedTicks(paths, own, matches) {
  const has = new Uint8Array(own.length);
  let ticks = 0;
  for (let n = 0; n < own.length; n++) {
    has[n] = matches[paths.place[n]] || (paths.caller[n] >= 0 && has[paths.caller[n]]);
    if (has[n]) ticks += own[n];
  }
  return ticks;
}
